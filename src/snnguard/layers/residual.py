"""How the skip path and the branch of a residual block are merged."""

import ctypes
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from snnguard import compiled

from .affine import again
from .matrix import address

Merge = Literal["sum", "convex"]

SOURCE = Path(__file__).with_suffix(".c")
PACE = 16384
"""`PACE` of residual.c."""


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
    """c[0] * skip + c[1] * branch, in fewer passes over memory than one operation after another: in one, where residual.c does
    it."""

    @staticmethod
    def forward(ctx: Any, c: Tensor, skip: Tensor, branch: Tensor) -> Tensor:
        ctx.save_for_backward(c, skip, branch)
        found = _compiled(c, skip, branch)
        if found is None:
            return torch.addcmul(c[0] * skip, c[1], branch)
        out = torch.empty_like(skip)
        given = (c.contiguous(), skip, branch, out)  # kept until the call is over
        found.merged(_size(skip), *map(address, given), _threads())
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (c, skip, branch) = gradients, ctx.saved_tensors
        found = None if again(gradient) else _compiled(c, gradient, skip, branch)
        if found is None or not all(ctx.needs_input_grad):
            of_c = torch.stack([(gradient * part).sum() for part in (skip, branch)]).to(c) if ctx.needs_input_grad[0] else None
            return of_c, *(c[i] * gradient if ctx.needs_input_grad[1 + i] else None for i in range(2))
        of_skip, of_branch = torch.empty_like(skip), torch.empty_like(branch)
        sums = torch.empty(-(-skip.numel() // PACE), 2, dtype=torch.float64)
        given = (c.contiguous(), gradient, skip, branch, of_skip, of_branch, sums)
        found.merged_backward(_size(skip), *map(address, given), _threads())
        return sums.sum(0).to(c), of_skip, of_branch


def _compiled(c: Tensor, *parts: Tensor) -> ctypes.CDLL | None:
    """residual.c, if it can do it: float32 in the memory of a CPU, all of them dense and in the same order."""
    if torch.compiler.is_compiling() or torch._C._is_tracing():
        return None
    plain = all(
        type(x) in (Tensor, nn.Parameter) and x.dtype == torch.float32 and x.device.type == "cpu" and not x.is_neg()
        for x in (c, *parts)
    )
    if not plain or not torch.ops.aten.is_non_overlapping_and_dense(parts[0]):
        return None
    return compiled.library(SOURCE) if all(x.stride() == parts[0].stride() for x in parts) else None


def _size(x: Tensor) -> ctypes.c_int64:
    return ctypes.c_int64(x.numel())


def _threads() -> ctypes.c_int64:
    return ctypes.c_int64(torch.get_num_threads())


def merge(kind: Merge) -> nn.Module:
    """A fresh merge module."""
    return ConvexCombination() if kind == "convex" else Sum()
