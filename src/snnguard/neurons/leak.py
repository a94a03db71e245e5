"""Learned leaks: per layer (PLIF), or per neuron and time step (the evolutionary leak of FEEL)."""

import math
from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor, nn

from .trait import Mechanism, Slot, Trait, aligned, settled, unsettled


@final
class LearnedLeak(Trait, kind="learned-leak"):
    """decay = sigmoid(w), one learned w per layer, the neuron's PLIF. SOURCE: Fang 2021, start 1 - 1/2.

    DEVIATION: the current is not scaled by 1 - decay, as everywhere in the papers that SNNGuard follows.
    """

    slot: ClassVar[Slot] = "leak"
    source: ClassVar[str] = "Fang et al., ICCV 2021 (PLIF)"

    start: float = Field(default=0.5, gt=0, lt=1)

    def build(self, *, steps: int) -> Mechanism:
        return LayerLeak(self, steps=steps)


@final
class LayerLeak(Mechanism):
    """The leak of one layer."""

    def __init__(self, settings: LearnedLeak, *, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.w = nn.Parameter(torch.tensor(math.log(settings.start / (1 - settings.start))))

    def leak(self, current: Tensor) -> Tensor:
        return torch.sigmoid(self.w).to(current.dtype).expand(self.steps, *[1] * (current.ndim - 1))


@final
class EvolutionaryLeak(Trait, kind="evolutionary-leak"):
    """u[t] = L[t] * v[t-1] + I[t], with a learned L [T, *F]: one leak per time step and neuron, 1 at the start.

    L[0] never acts. It ties the network to its image size and its number of steps. SOURCE: Xu 2024 (FEEL), which does not
    constrain L either.
    """

    slot: ClassVar[Slot] = "leak"
    source: ClassVar[str] = "Xu et al., NeurIPS 2024 (FEEL)"

    start: float = Field(default=1.0, ge=0, le=1)

    def build(self, *, steps: int) -> Mechanism:
        return NeuronLeak(self, steps=steps)


@final
class NeuronLeak(Mechanism):
    """The leaks of one layer."""

    def __init__(self, settings: EvolutionaryLeak, *, steps: int) -> None:
        super().__init__()
        self.settings, self.steps = settings, steps
        self.each = unsettled()

    def settle(self, current: Tensor) -> None:
        settled(self.each, (self.steps, *current.shape[2:]), value=self.settings.start, like=current)

    def leak(self, current: Tensor) -> Tensor:
        return aligned(self.each.to(current.dtype), current)[:, None]
