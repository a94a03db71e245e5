"""The equations of the leaky integrate-and-fire neuron, and the one time loop over them.

    u[t] = decay * v[t-1] + I[t]                        charge
    s[t] = 1 where u[t] >= threshold, else 0            fire
    v[t] = u[t] * (1 - s[t])    or  u[t] - threshold * s[t]    reset to zero, or subtract

`decay` is multiplicative: 1.0 means no leak (the tau of the RAT family). SOURCE: METHODS 1.1; MPD-SGR eq. 2-4.
This loop is the reference: autograd differentiates it step by step. The fused kernel is tested against it.
"""

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from snnguard.choice import Choice

from .surrogate import Surrogate
from .watch import Membrane, Watch, channel_moments, mean_hinge

Reset = Literal["zero", "subtract"]


class Dynamics(Choice):
    """The constants of the equations, as one value; `LIF` and its relatives are its members."""

    decay: float = Field(default=1.0, ge=0, le=1)
    threshold: float = Field(default=1.0, gt=0)
    reset: Reset = "zero"
    detach_reset: bool = False

    def constants(self) -> dict[str, Any]:
        """Keyword arguments of `unroll` and `fused`."""
        return {name: getattr(self, name) for name in Dynamics.model_fields}


def charge(v: Tensor | None, current: Tensor, decay: float) -> Tensor:
    """u = decay * v + I. Two roundings, never a fused multiply-add, so that every backend has the same bits."""
    if v is None:
        return current.clone()
    return current + (v if decay == 1 else v * decay)


class Spike(torch.autograd.Function):
    """Exact Heaviside forward, surrogate derivative backward."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, threshold: float, surrogate: Surrogate) -> Tensor:
        ctx.save_for_backward(u)
        ctx.threshold, ctx.surrogate = threshold, surrogate
        return (u >= threshold).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (u,) = ctx.saved_tensors
        return grad * ctx.surrogate.derivative(u - ctx.threshold), None, None


def fire(u: Tensor, threshold: float, surrogate: Surrogate) -> Tensor:
    """Spikes in {0, 1}, the dtype of `u`."""
    spikes: Tensor = Spike.apply(u, threshold, surrogate)  # type: ignore[no-untyped-call]
    return spikes


def after_reset(u: Tensor, s: Tensor, threshold: float, reset: Reset) -> Tensor:
    """v, the membrane after the reset."""
    return u * (1 - s) if reset == "zero" else u - threshold * s


def unroll(
    current: Tensor,
    *,
    steps: int,
    decay: float,
    threshold: float,
    reset: Reset,
    detach_reset: bool,
    surrogate: Surrogate,
    watch: Watch | None = None,
    noise: Tensor | None = None,
) -> tuple[Tensor, Membrane | None]:
    """Spikes [T, N, *F] of a current [T, N, *F], or [1, N, *F] for one that does not change over `steps` steps.

    `noise` [T, N, *F] is the part of `current` that the watched quantities leave out.
    """
    v: Tensor | None = None
    spikes, seen = [], []
    for t in range(steps):
        u = charge(v, current[t if len(current) > 1 else 0], decay)
        s = fire(u, threshold, surrogate)
        v = after_reset(u, s.detach() if detach_reset else s, threshold, reset)
        spikes.append(s)
        if watch:
            seen.append(u - threshold if noise is None else u - threshold - noise[t])
    train = torch.stack(spikes)
    return train, observe(torch.stack(seen), train, watch) if watch else None


def observe(ubar: Tensor, spikes: Tensor, watch: Watch) -> Membrane:
    """The watched quantities of `ubar` [T, N, *F], differentiable by autograd."""
    moments = [channel_moments(step) for step in ubar] if watch.moments else []
    return Membrane(
        mean=torch.stack([m for m, _ in moments]) if moments else None,
        var=torch.stack([v for _, v in moments]) if moments else None,
        hinge=torch.stack([mean_hinge(ubar, band) for band in watch.bands]) if watch.bands else None,
        bands=watch.bands,
        potential=ubar.detach() if watch.potential else None,
        spikes=spikes.detach() if watch.potential else None,
    )
