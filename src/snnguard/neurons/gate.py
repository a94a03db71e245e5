"""Stochastic gates behind the neurons: StoG."""

from typing import ClassVar, Literal, Self, final

import torch
from pydantic import Field, model_validator
from torch import Tensor

from .drawn import drawn
from .dynamics import straight_through
from .trait import Mechanism, Slot, Trait, aligned, settled, unsettled


@final
class StochasticGate(Trait, kind="stochastic-gate"):
    """s <- s * g with g ~ Bernoulli(q): one learned q in [floor, 1] per neuron, drawn anew per time step and image.

    The gradient for q goes straight through the draw: dE[s g]/dq = s, so that a gate opens where its spikes lower the
    loss. Drawn in eval mode too; `inference="expectation"` multiplies by q instead and makes the network deterministic.
    SOURCE: Ding 2024 (StoG), q = clip(p, 0.1, 1), 1 at the start. DEVIATION: the published code has the opposite sign,
    has the slope of a concrete relaxation (temperature 0.5) where ours is 1, averages over time and batch instead of
    summing, opens a gate of q = 1 only 999 times in 1,000, and its clip at the starting point lets no gradient through;
    here q is projected onto [floor, 1] after each step instead.
    """

    slot: ClassVar[Slot] = "spikes"
    source: ClassVar[str] = "Ding et al. 2024 (StoG)"

    start: float = Field(default=1.0, gt=0, le=1)
    floor: float = Field(default=0.1, gt=0, le=1)
    inference: Literal["draw", "expectation"] = "draw"

    @model_validator(mode="after")
    def _starts_above_the_floor(self) -> Self:
        if self.start < self.floor:
            raise ValueError(f"start={self.start} must not be below floor={self.floor}")
        return self

    @property
    def noisy(self) -> bool:
        return self.inference == "draw"

    def build(self, *, steps: int) -> Mechanism:  # noqa: ARG002
        return Gate(self)


@final
class Gate(Mechanism):
    """The gates of one layer; `q` [*F] is their probability of being open."""

    def __init__(self, settings: StochasticGate) -> None:
        super().__init__()
        self.settings = settings
        self.q = unsettled()

    def settle(self, current: Tensor) -> None:
        settled(self.q, current.shape[2:], value=self.settings.start, like=current)

    def passed_on(self, spikes: Tensor) -> Tensor:
        q = aligned(self.q.to(spikes.dtype)[None], spikes).expand_as(spikes)
        if not self.training and not self.settings.noisy:
            return spikes * q
        # rand is in [0, 1), so a gate with q = 1 is always open.
        opened = drawn(torch.rand, spikes, len(spikes)).lt_(q)
        return spikes * straight_through(opened, q)

    @torch.no_grad()
    def project(self) -> None:
        """Puts q back into [floor, 1]."""
        self.q.clamp_(self.settings.floor, 1.0)
