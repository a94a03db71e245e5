"""Randomised smoothing coding (RSC): fresh Gaussian noise on the image in every time step."""

import math
from collections.abc import Callable
from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from .encoder import Encoder


@final
class RSC(Encoder, kind="rsc"):
    """x[t] = x + n[t], n[t] ~ N(0, sigma^2), drawn anew in every step and every call, before the normalisation, not clamped.

    The T noisy images together are one Gaussian draw around T copies of the image, and moving the image by d moves the
    copies by sqrt(T) |d|: the class of the averaged network is certified as if smoothed with sigma / sqrt(T).
    SOURCE: Wu 2024 (RSC-SNN). DEVIATION: its sigma and exact form are not published; 0.25 in [0, 1] pixels is ours.
    """

    source: ClassVar[str] = "Wu et al., ACM MM 2024 (RSC-SNN)"

    sigma: float = Field(default=0.25, ge=0)

    @property
    def noisy(self) -> bool:
        return self.sigma > 0

    def smoothing_sigma(self, steps: int) -> float:
        return self.sigma / math.sqrt(steps)

    def encode(self, x: Tensor, *, steps: int, normalize: Callable[[Tensor], Tensor]) -> Tensor:
        if self.sigma == 0:
            return normalize(x)
        noise = torch.randn((steps, *x.shape[1:]), device=x.device, dtype=x.dtype)
        return normalize(x + self.sigma * noise)
