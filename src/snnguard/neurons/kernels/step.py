"""What the kernels share: a time step as three numbers, its memory order, and what the moments add to a gradient."""

import math

import torch
from torch import Tensor


def shape(step: Tensor) -> tuple[int, int, int]:
    """One time step [N, C, *F] as [outer, channels, inner], in one of the memory orders of `drawn.over_time`.

    `inner` is 1 where channels come last in memory.
    """
    if step.ndim < 2:
        return step.numel(), 1, 1
    channels = step.shape[1]
    if step.ndim == 4 and not step.is_contiguous():
        return step.numel() // max(channels, 1), channels, 1
    return len(step), channels, math.prod(step.shape[2:])


def dense(x: Tensor, like: Tensor) -> Tensor:
    """`x` with the memory order of `like`, of which it may be a single step; itself where it has it already."""
    strides = like.stride()
    if all(a == b or size == 1 for a, b, size in zip(x.stride(), strides, x.shape, strict=True)):
        return x
    return torch.empty_strided(x.shape, strides, dtype=x.dtype, device=x.device).copy_(x)


def moment_slopes(
    mean: Tensor, g_mean: Tensor | None, g_var: Tensor | None, *, threshold: float, count: int
) -> tuple[Tensor, Tensor]:
    """constant and slope [T, C], so that the moments add constant + slope * u to dL/du.

    d(mean)/du = 1/n and d(var)/du = 2 (u - mean(u)) / n, with n = `count` elements; `mean` is of u - threshold.
    """
    # Contiguous, because the kernels read them as rows of channels, and what autograd hands over may be a transpose.
    slope = torch.zeros_like(mean) if g_var is None else (g_var.to(mean.dtype) * (2 / count)).contiguous()
    constant = -slope * (mean + threshold)
    return (constant if g_mean is None else constant + g_mean.to(mean.dtype).contiguous() / count), slope
