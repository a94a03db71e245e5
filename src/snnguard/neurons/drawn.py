"""Random numbers for whole trains of spikes."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Noise(NamedTuple):
    """Gaussian noise that is known by its seed, so that it need not be kept: the same seed is the same noise.

    `kernels.noise` makes a tensor of it; the compiled kernel draws it where it is needed.
    """

    seed: int
    sigma: float

    @classmethod
    def fresh(cls, sigma: float) -> "Noise":
        """With a seed from PyTorch's generator on the CPU."""
        return cls(int(torch.randint(2**62, ())), sigma)


def over_time(current: Tensor, steps: int, *, dtype: torch.dtype | None = None) -> Tensor:
    """An empty [T, N, *F] whose time steps are in a row in memory, channels last where one step of `current` is, and else as
    they are counted."""
    one = current[0]
    kind = dtype or one.dtype
    if one.ndim == 4 and one.is_contiguous(memory_format=torch.channels_last) and not one.is_contiguous():
        _, channels, height, width = one.shape
        row = width * channels
        strides = (one.numel(), height * row, 1, row, channels)
        return torch.empty_strided((steps, *one.shape), strides, dtype=kind, device=one.device)
    return torch.empty((steps, *one.shape), dtype=kind, device=one.device)


def drawn(sampler: Callable[..., Tensor], current: Tensor, steps: int) -> Tensor:
    """Random numbers [T, N, *F] by `torch.rand` or `torch.randn`, in the memory order of one step of `current`."""
    # Drawn in a row and laid out afterwards: filling a permuted tensor is several times slower on a CPU.
    laid_out = over_time(current, steps)
    flat = sampler(laid_out.numel(), dtype=current.dtype, device=current.device)
    return flat.as_strided(laid_out.shape, laid_out.stride())
