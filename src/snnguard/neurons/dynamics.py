"""The equations of the leaky integrate-and-fire neuron, and the one time loop over them.

    u[t] = decay * v[t-1] + I[t]                        charge
    s[t] = 1 where u[t] >= threshold, else 0            fire
    v[t] = u[t] * (1 - s[t])    or  u[t] - threshold * s[t]    reset to zero, or subtract

`decay` is multiplicative: 1.0 means no leak (the tau of the RAT family). SOURCE: METHODS 1.1; MPD-SGR eq. 2-4.
This loop is the reference: autograd differentiates it step by step. The fused kernel is tested against it.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from snnguard.choice import Choice

from .surrogate import Slope, Slopes
from .trait import Firing, Mechanism
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


def charge(v: Tensor | None, current: Tensor, decay: float | Tensor) -> Tensor:
    """u = decay * v + I. Two roundings, never a fused multiply-add, so that every backend has the same bits."""
    if v is None:
        return current.clone()
    return current + (v if isinstance(decay, float | int) and decay == 1 else v * decay)


class _Stands(torch.autograd.Function):
    """The value of one tensor, bit for bit, with the gradient of another."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, smooth: Tensor) -> Tensor:  # noqa: ARG004
        return value.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:  # noqa: ARG004
        return None, grad


def straight_through(value: Tensor, smooth: Tensor) -> Tensor:
    """`value`, differentiated as if it were `smooth`."""
    out: Tensor = _Stands.apply(value, smooth)  # type: ignore[no-untyped-call]
    return out


class _Spike(torch.autograd.Function):
    """What is emitted forward, the surrogate derivative backward."""

    @staticmethod
    def forward(ctx: Any, ubar: Tensor, emitted: Tensor, slope: Slope) -> Tensor:
        ctx.save_for_backward(ubar)
        ctx.slope = slope
        return emitted.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (ubar,) = ctx.saved_tensors
        return grad * ctx.slope.derivative(ubar), None, None


def fire(u: Tensor, threshold: float, slope: Slope, mechanism: Firing | None = None, *, own: bool = True) -> Tensor:
    """Spikes in {0, 1}, the dtype of `u`; or what `mechanism` emits, with its own gradient unless `own` is False."""
    if mechanism is None:
        ubar, emitted = u - threshold, (u >= threshold).to(u.dtype)
    else:
        ubar = u - threshold
        emitted = mechanism.emit(ubar.detach()).detach()
        if own:
            return straight_through(emitted, mechanism.smooth(ubar))
    spikes: Tensor = _Spike.apply(ubar, emitted, slope)  # type: ignore[no-untyped-call]
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
    surrogate: Slopes,
    watch: Watch | None = None,
    noise: Tensor | None = None,
    leak: Tensor | None = None,
    inside: Sequence[Mechanism] = (),
    own: bool = True,
) -> tuple[Tensor, Membrane | None]:
    """Spikes [T, N, *F] of a current [T, N, *F], or [1, N, *F] for one that does not change over `steps` steps.

    `leak` [T, 1, *F], or broadcasting to it, is the decay into each step in place of `decay`. `noise` [T, N, *F] is the
    part of `current` that the watched quantities leave out. `inside` are mechanisms that act in the loop; with `own`
    False, `surrogate` is used in place of the gradient that a firing mechanism brings.
    """
    v: Tensor | None = None
    spikes, seen = [], []
    membranes: list[Tensor] = []
    firing = next((mechanism for mechanism in inside if isinstance(mechanism, Firing)), None)
    for t in range(steps):
        u = charge(v, current[t if len(current) > 1 else 0], decay if leak is None else leak[t])
        quiet = None if noise is None or not watch else u - noise[t]
        shift: Tensor | None = None
        for mechanism in inside:
            u = mechanism.charged(u, threshold=threshold)
            quiet = None if quiet is None else mechanism.charged(quiet, threshold=threshold)
            moved = mechanism.shift(membranes, threshold=threshold)
            shift = moved if shift is None else shift
        level = u if shift is None else u - shift
        slope = surrogate.at(t, level.detach(), threshold=threshold)
        s = fire(level, threshold, slope, firing, own=own)
        v = after_reset(u, s.detach() if detach_reset else s, threshold, reset)
        spikes.append(s)
        if inside:
            membranes.append(u)
        if watch:
            ubar = (u if quiet is None else quiet) - threshold
            seen.append(ubar if shift is None else ubar - shift)
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
        potential=ubar if watch.potential else None,
        spikes=spikes.detach() if watch.potential else None,
    )
