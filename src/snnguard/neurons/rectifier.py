"""A rectified membrane: the neuron of InfLoR-SNN."""

import math
from typing import ClassVar, final

import torch
from torch import Tensor

from .trait import Mechanism, Slot, Trait


@final
class MembraneRectifier(Trait, kind="membrane-rectifier"):
    """u <- threshold * phi(u / threshold) after charging, so that little is lost when u is rounded to a spike.

    phi draws u to 0 and 1, from both sides, and leaves 0, 1/2 and 1 where they are (see `rectified`). It rises and keeps
    the threshold, so a neuron that would have fired still does; what changes is the membrane that stays.
    SOURCE: Guo 2022 (InfLoR-SNN, ECCV), with the threshold as the unit of u.
    """

    slot: ClassVar[Slot] = "membrane"
    source: ClassVar[str] = "Guo et al., ECCV 2022 (InfLoR-SNN)"

    def build(self, *, steps: int) -> Mechanism:  # noqa: ARG002
        return _Rectifier()


@final
class _Rectifier(Mechanism):
    inside: ClassVar[bool] = True

    def charged(self, u: Tensor, *, threshold: float) -> Tensor:
        return rectified(u / threshold) * threshold


def rectified(u: Tensor) -> Tensor:
    """phi(u), elementwise: 1 - (1 - u)^(1/3) below 0, tanh(3 (u - 1/2)) / (2 tanh 3/2) + 1/2 on [0, 1], u^(1/3) above 1.

    SOURCE: InfLoR-SNN. Where two pieces meet, the outer one is taken: at 0 and 1 it is exact in floating point.
    """
    # `where` multiplies the gradient of the piece not taken by zero, so each piece must have a finite one everywhere:
    # a cube root is only ever drawn of numbers from 1 on.
    below = 1 - (1 - u).clamp_min(1).pow(1 / 3)
    between = torch.tanh(3 * (u - 0.5)) / (2 * math.tanh(1.5)) + 0.5
    above = u.clamp_min(1).pow(1 / 3)
    return torch.where(u <= 0, below, torch.where(u >= 1, above, between))
