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
    """An empty [T, N, *F] whose time steps have the memory order of one step of `current`."""
    one = current[0]
    dense = torch.empty_like(one).stride()
    return torch.empty_strided((steps, *one.shape), (one.numel(), *dense), dtype=dtype or one.dtype, device=one.device)


def drawn(sampler: Callable[..., Tensor], current: Tensor, steps: int) -> Tensor:
    """Random numbers [T, N, *F] by `torch.rand` or `torch.randn`, in the memory order of one step of `current`."""
    # Drawn in a row and laid out afterwards: filling a permuted tensor is several times slower on a CPU.
    laid_out = over_time(current, steps)
    flat = sampler(laid_out.numel(), dtype=current.dtype, device=current.device)
    return flat.as_strided(laid_out.shape, laid_out.stride())
