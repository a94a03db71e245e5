"""The sanctioned way to look inside: what the membranes of every layer did during a forward pass."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from snnguard.neurons import Membrane, Watch, neurons_of


@contextmanager
def watching(model: nn.Module, watch: Watch | None) -> Iterator[dict[str, list[Membrane]]]:
    """Within the block each forward pass appends what `watch` asks for, per layer (one entry per pass).

    Watching costs nothing when `watch` is empty or None, and is undone on any exit.
    """
    neurons = neurons_of(model)
    saved = {name: (neuron.watch, neuron.seen) for name, neuron in neurons.items()}
    seen: dict[str, list[Membrane]] = {}
    try:
        if watch:
            for name, neuron in neurons.items():
                seen[name] = []
                neuron.watch, neuron.seen = watch, seen[name]
        yield seen
    finally:
        for name, neuron in neurons.items():
            neuron.watch, neuron.seen = saved[name]
