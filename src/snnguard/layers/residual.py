"""How the skip path and the branch of a residual block are merged."""

from typing import Literal

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
        return self.c[0] * skip + self.c[1] * branch


def merge(kind: Merge) -> nn.Module:
    """A fresh merge module."""
    return ConvexCombination() if kind == "convex" else Sum()
