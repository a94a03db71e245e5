"""Frequency encoding: early steps see sharp images, later ones only their low frequencies."""

from collections.abc import Callable
from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from .encoder import Encoder


@final
class Frequency(Encoder, kind="frequency"):
    """x[t] = real part of IFFT(M_r(t) * FFT(x)), M a box of the frequencies |m|, |n| <= r(t), which falls with t.

    Radii begin at half the image height H and fall by `drop` of it per step, H/2 * (1 - drop * t), at least 1. The image
    is filtered before it is normalised; linear, deterministic and differentiable, so an attacker sees through it.
    SOURCE: Xu 2024 (FEEL), eq. 7-11: 16, 14, ..., 2 for 32x32, that is drop = 1/8; for 64x64 32, 30, ..., drop = 1/16.
    DEVIATION: the published code cuts rows and columns [c - r, c + r), which is not symmetric, takes the magnitude of the
    complex result, and leaves the images unnormalised; here the mask is symmetric, as in the paper, and the result real.
    """

    source: ClassVar[str] = "Xu et al., NeurIPS 2024 (FEEL)"

    drop: float = Field(default=0.125, ge=0, le=1)

    def radii(self, height: int, *, steps: int) -> list[int]:
        """The radius of each step, in frequency bins."""
        return [max(1, round(height / 2 * (1 - self.drop * t))) for t in range(steps)]

    def encode(self, x: Tensor, *, steps: int, normalize: Callable[[Tensor], Tensor]) -> Tensor:
        height, width = x.shape[-2:]
        frames = []
        for t, radius in enumerate(self.radii(height, steps=steps)):
            frames.append(low_pass(x[t if len(x) > 1 else 0], radius, max(1, round(radius * width / height))))
        return normalize(torch.stack(frames))


def low_pass(x: Tensor, rows: int, columns: int) -> Tensor:
    """The part of images [..., H, W] with frequencies |m| <= rows and |n| <= columns. SOURCE: FEEL eq. 9."""
    height, width = x.shape[-2:]
    spectrum = torch.fft.rfft2(x)
    m = torch.fft.fftfreq(height, 1 / height, device=x.device).abs() <= rows
    n = torch.fft.rfftfreq(width, 1 / width, device=x.device).abs() <= columns
    filtered: Tensor = torch.fft.irfft2(spectrum * (m[:, None] & n), s=(height, width))
    return filtered
