"""How the skip path and the branch of a residual block are merged."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

Merge = Literal["sum", "convex"]


class Sum(nn.Module):
    """skip + branch."""

    def forward(self, skip: Tensor, branch: Tensor) -> Tensor:
        return skip + branch


class ConvexCombination(nn.Module):
    """c[0] * skip + c[1] * branch with learnable c, 1/2 each at the start.

    REG keeps c on the simplex (see `defenses.reg`). SOURCE: Ding 2022 (SNN-RAT).
    """

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Parameter(torch.full((2,), 0.5))

    def forward(self, skip: Tensor, branch: Tensor) -> Tensor:
        half = not self.c.dtype == skip.dtype == branch.dtype  # then the coefficients stay precise
        if half or skip.shape != branch.shape or torch._C._are_functorch_transforms_active():
            return self.c[0] * skip + self.c[1] * branch
        merged: Tensor = _Combined.apply(self.c, skip, branch)  # type: ignore[no-untyped-call]
        return merged


class _Combined(torch.autograd.Function):
    """c[0] * skip + c[1] * branch, in fewer passes over memory than one operation after another."""

    @staticmethod
    def forward(ctx: Any, c: Tensor, skip: Tensor, branch: Tensor) -> Tensor:
        ctx.save_for_backward(c, skip, branch)
        return torch.addcmul(c[0] * skip, c[1], branch)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (c, *parts) = gradients, ctx.saved_tensors
        of_c = torch.stack([_dot(gradient, part) for part in parts]).to(c) if ctx.needs_input_grad[0] else None
        of_parts = [c[i] * gradient if ctx.needs_input_grad[1 + i] else None for i in range(2)]
        return of_c, *of_parts


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """The sum of all products [T, N, *F], sample by sample and then over the samples."""
    if one.ndim < 3 or one.stride() != other.stride() or one.numel() == 0:
        return (one * other).sum()
    # In the order in which they lie in memory, so that nothing is copied.
    order = sorted(range(one.ndim), key=lambda i: -one.stride()[i])
    rows, columns = (x.permute(order).flatten(0, 1).flatten(1) for x in (one, other))
    return torch.bmm(rows[:, None], columns[:, :, None]).sum()


def merge(kind: Merge) -> nn.Module:
    """A fresh merge module."""
    return ConvexCombination() if kind == "convex" else Sum()
