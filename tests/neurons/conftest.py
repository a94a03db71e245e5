"""The equations once more, so that a gradient rule can be held against a backward pass that it shares nothing with."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from snnguard.neurons import GradientRule, Triangle


def loop(
    current: Tensor, slope: Callable[[int, Tensor], Tensor], *, steps: int, decay: float = 1.0, threshold: float = 1.0,
    reset: str = "zero", detach_reset: bool = False, through_time: bool = True,
) -> Tensor:  # fmt: skip
    """Spikes of the current, each a step whose derivative is written onto it: s + h (u - constant u)."""
    v, spikes = torch.zeros_like(current[0]), []
    for t in range(steps):
        u = decay * v + current[t if len(current) > 1 else 0]
        ubar = u.detach() - threshold
        s = (ubar >= 0).to(u.dtype) + slope(t, ubar) * (u - u.detach())
        spikes.append(s)
        gone = s.detach() if detach_reset else s
        v = u * (1 - gone) if reset == "zero" else u - threshold * gone
        v = v if through_time else v.detach()
    return torch.stack(spikes)


@pytest.fixture
def written_out() -> Callable[..., Tensor]:
    return loop


def differentiate(rule: GradientRule, current: Tensor, upstream: Tensor, **call: Any) -> tuple[Tensor, Tensor]:
    """Spikes and dL/dI under a rule, for dL/ds = `upstream` [T, N, *F]."""
    x = current.clone().requires_grad_()
    spikes, _ = rule.spikes(x, steps=len(upstream), surrogate=Triangle(), **call)
    return spikes.detach(), torch.autograd.grad(spikes, x, upstream)[0]


@pytest.fixture
def derived() -> Callable[..., tuple[Tensor, Tensor]]:
    return differentiate


def randoms(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def random() -> Callable[..., Tensor]:
    """`random(seed, *shape)`: standard normal in float64."""
    return randoms
