"""The fused backend: the whole time loop as one autograd node with a hand-written backward pass.

Forward bits equal those of `dynamics.unroll`; gradients agree to rounding. Only `u` is kept for the backward pass, and
the gradients of the watched quantities are folded into the one sweep over time: for the moments the addition is
affine in `ubar` per channel, for the hinge it is a constant of either sign inside the band.

With G[t] = dL/ds[t] and V[t] = dL/dv[t] = decay * U[t+1], the sweep computes U[t] = dL/du[t] (and dL/dI[t] = U[t]):

    reset to zero:   U = h (G - V u) + V (1 - s)      h the surrogate derivative; the product V u falls away
    subtract:        U = h (G - V threshold) + V      (or V threshold, respectively) when the reset is detached
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from snnguard.neurons.drawn import over_time
from snnguard.neurons.dynamics import Reset
from snnguard.neurons.surrogate import Slope, Slopes
from snnguard.neurons.watch import Membrane, Watch, channel_moments, delivered

from .step import moment_slopes


class _Setting(NamedTuple):
    steps: int
    decay: float
    threshold: float
    reset: Reset
    detach_reset: bool
    surrogate: Slopes
    watch: Watch


def fused(
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
) -> tuple[Tensor, Membrane | None]:
    """The same as `dynamics.unroll`, in one node."""
    watch = watch or Watch()
    setting = _Setting(steps, decay, threshold, reset, detach_reset, surrogate, watch)
    spikes, mean, var, hinge, potential = _Fused.apply(current, noise, leak, setting)  # type: ignore[no-untyped-call]
    return spikes, delivered(watch, spikes, mean, var, hinge, potential)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, current: Tensor, noise: Tensor | None, leak: Tensor | None, setting: _Setting
    ) -> tuple[Tensor, ...]:  # fmt: skip
        watch, threshold = setting.watch, setting.threshold
        u, spikes = over_time(current, setting.steps), over_time(current, setting.steps)
        v = torch.empty_like(u[0])
        means, variances, hinges = [], [], current.new_zeros(len(watch.bands))
        slopes = []
        for t in range(setting.steps):
            given = current[t if len(current) > 1 else 0]
            if t == 0:
                u[t].copy_(given)
            else:
                torch.add(given, _leaked(v, leak, t, setting), out=u[t])
            slopes.append(setting.surrogate.at(t, u[t], threshold=threshold))
            # Spikes as numbers throughout: comparisons into a bool mask and masked fills are many times slower.
            torch.ge(u[t], threshold, out=spikes[t])
            if setting.reset == "zero":
                torch.addcmul(u[t], u[t], spikes[t], value=-1, out=v)
            else:
                torch.add(u[t], spikes[t], alpha=-threshold, out=v)
            if watch.moments:
                # The moments of u, shifted: exact, and no copy of u is made where there is no noise to leave out.
                mean, var = channel_moments(u[t] if noise is None else u[t] - noise[t])
                means.append(mean - threshold)
                variances.append(var)
            if watch.bands:
                size = _ubar(u[t], threshold, noise, t).abs_()
                hinges += torch.stack([torch.rsub(size, band).clamp_min_(0).mean() for band in watch.bands]) / setting.steps
        nothing = current.new_zeros(0)
        mean = torch.stack(means) if means else nothing
        var = torch.stack(variances) if variances else nothing
        potential = nothing
        if watch.potential:
            potential = torch.stack([_ubar(u[t], threshold, noise, t) for t in range(setting.steps)])
        ctx.save_for_backward(u, mean, noise, leak)
        ctx.setting, ctx.slopes, ctx.static = setting, slopes, len(current) == 1
        ctx.set_materialize_grads(False)
        return spikes, mean, var, hinges, potential

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,
        g_spikes: Tensor | None,
        g_mean: Tensor | None,
        g_var: Tensor | None,
        g_hinge: Tensor | None,
        g_potential: Tensor | None,
    ) -> tuple[Tensor, None, Tensor | None, None]:
        setting: _Setting = ctx.setting
        u, mean, noise, leak = ctx.saved_tensors
        g_leak = torch.zeros_like(leak) if leak is not None and ctx.needs_input_grad[2] else None
        static = ctx.static and setting.steps > 1
        g_current = torch.zeros_like(u[:1]) if static else torch.empty_like(u)
        moments = setting.watch.moments and (g_mean is not None or g_var is not None)
        count = u[0].numel() // u.shape[2] if moments else 1
        constant, slope = moment_slopes(mean, g_mean, g_var, threshold=setting.threshold, count=count)
        each = (1, -1, *[1] * (u.ndim - 3))
        later: Tensor | None = None
        for t in reversed(range(setting.steps)):
            out = torch.empty_like(u[t]) if static else g_current[t]
            if later is not None:
                if g_leak is not None:
                    g_leak[t + 1] = (later * _reset(u[t], setting)).sum_to_size(g_leak[t + 1].shape)
                later = _leaked(later, leak, t + 1, setting)
            _sweep(u[t], None if g_spikes is None else g_spikes[t], later, ctx.slopes[t], setting, out)
            if moments:
                quiet = u[t] if noise is None else u[t] - noise[t]
                out.addcmul_(quiet, slope[t].reshape(each)).add_(constant[t].reshape(each))
            if g_hinge is not None and setting.watch.bands:
                _add_hinge(out, _ubar(u[t], setting.threshold, noise, t), g_hinge, setting)
            if g_potential is not None and setting.watch.potential:
                out += g_potential[t]
            if static:
                g_current[0] += out
            later = out
        return g_current, None, g_leak, None


def _ubar(u: Tensor, threshold: float, noise: Tensor | None, t: int) -> Tensor:
    return u - threshold if noise is None else (u - threshold).sub_(noise[t])


def _leaked(v: Tensor, leak: Tensor | None, t: int, setting: _Setting) -> Tensor:
    """v times the decay into step t."""
    if leak is not None:
        return v * leak[t]
    return v if setting.decay == 1 else v * setting.decay


def _reset(u: Tensor, setting: _Setting) -> Tensor:
    """v after the reset of u."""
    spikes = torch.ge(u, setting.threshold, out=torch.empty_like(u))
    return torch.addcmul(u, u, spikes, value=-1) if setting.reset == "zero" else u - setting.threshold * spikes


def _sweep(u: Tensor, g: Tensor | None, g_v: Tensor | None, slope: Slope, setting: _Setting, out: Tensor) -> None:
    """Writes dL/du of one step to `out`, from dL/ds (`g`) and dL/dv after its reset (`g_v`)."""
    h = slope.derivative(u - setting.threshold)
    if g_v is None:
        torch.mul(h, 0 if g is None else g, out=out)
        return
    g = torch.zeros_like(u) if g is None else g
    if setting.reset == "zero":
        inner = g if setting.detach_reset else torch.addcmul(g, g_v, u, value=-1)
        torch.mul(h, inner, out=out)
        spikes = torch.ge(u, setting.threshold, out=h)  # h is spent; its memory serves again
        out.add_(g_v).addcmul_(g_v, spikes, value=-1)
    else:
        inner = g if setting.detach_reset else torch.add(g, g_v, alpha=-setting.threshold)
        torch.addcmul(g_v, h, inner, out=out)


def _add_hinge(total: Tensor, ubar: Tensor, g_hinge: Tensor, setting: _Setting) -> None:
    """Adds d(mean hinge)/du = -sign(ubar) / (T n) inside each band."""
    sign, size, inside = ubar.sign(), ubar.abs_(), torch.empty_like(ubar)  # ubar was made for this call
    for band, g in zip(setting.watch.bands, g_hinge, strict=True):
        torch.lt(size, band, out=inside)
        total.addcmul_(sign, inside.mul_(g * (-1 / (setting.steps * ubar.numel()))))
