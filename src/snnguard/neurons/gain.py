"""A learned gain per time step: the neuron of DLIF."""

from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor, nn

from .trait import Mechanism, Slot, Trait


@final
class StepGain(Trait, kind="step-gain"):
    """u[t] = decay * v[t-1] + p[t] * I[t], with one learned vector p [T] per layer, shared by its neurons, 1 at the start.

    SOURCE: Ding 2024 (DLIF).
    """

    slot: ClassVar[Slot] = "gain"
    source: ClassVar[str] = "Ding et al., ICML 2024 (DLIF)"

    start: float = Field(default=1.0, gt=0)

    def build(self, *, steps: int) -> Mechanism:
        return Gain(self, steps=steps)


@final
class Gain(Mechanism):
    """The gain of one layer."""

    def __init__(self, settings: StepGain, *, steps: int) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.full((steps,), settings.start))

    def scaled(self, current: Tensor) -> Tensor:
        return current * self.p.to(current.dtype).reshape(-1, *[1] * (current.ndim - 1))
