"""The numbers of training steps, read from their device many steps at a time: who reads one waits for all work before it."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from snnguard.errors import SNNGuardError
from snnguard.layers.across import devices, total

Line = dict[str, Any]
NORM = "gradient_norm"
EVERY = 20
"""Steps between two readings on an accelerator. On a CPU, where nothing waits, every step is read at once."""


class Diverged(SNNGuardError):
    """The loss, or a weight, is no longer a number."""


class Unread:
    """The numbers of the steps since the last reading, on their device."""

    def __init__(self, device: torch.device) -> None:
        self.every = 1 if device.type == "cpu" else EVERY
        self.waiting: list[tuple[int, float, list[str], Tensor]] = []

    def add(self, step: int, learning_rate: float, values: Mapping[str, Tensor]) -> None:
        """What one step gave, scalars by name; of several devices the mean."""
        together = torch.stack([value.detach().float() for value in values.values()])
        shared = together if devices() == 1 else total(together) / devices()
        self.waiting.append((step, learning_rate, list(values), shared))

    @property
    def due(self) -> bool:
        """Whether it is time to read."""
        return len(self.waiting) >= self.every

    def read(self) -> list[tuple[int, Line]]:
        """The steps by their number, with their lines. Raises `Diverged` at the first that is not finite."""
        if not self.waiting:
            return []
        values = torch.cat([numbers for *_, numbers in self.waiting]).tolist()
        lines = []
        for step, rate, names, numbers in self.waiting:
            line, values = dict(zip(names, values, strict=False)), values[len(numbers) :]
            _check(step, line)
            line.pop(NORM, None)
            lines.append((step, line | {"learning_rate": rate}))
        self.waiting = []
        return lines


def _check(step: int, line: Mapping[str, float]) -> None:
    losses = {name: value for name, value in line.items() if name == "loss" or name.startswith("penalty.")}
    if not all(map(math.isfinite, losses.values())):
        raise Diverged(f"the loss is not finite at step {step} ({losses}); lower the learning rate or clip_norm")
    if not math.isfinite(line.get(NORM, 0.0)):
        raise Diverged(f"the gradient is not finite at step {step}; lower the learning rate")
