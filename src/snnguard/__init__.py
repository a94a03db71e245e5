"""SNNGuard: spiking neural networks, trained, attacked and judged."""
