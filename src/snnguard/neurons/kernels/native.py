"""The compiled backend for the CPU (native.c): one pass over memory each way, and nothing kept but the current.

Forward bits equal those of `dynamics.unroll`; gradients agree to rounding. Currents in bfloat16 are computed with in float32.
"""

import ctypes
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from snnguard.errors import OutOfMemory
from snnguard.neurons.drawn import Noise, over_time
from snnguard.neurons.dynamics import Reset
from snnguard.neurons.surrogate import (
    ATan,
    Dspike,
    Exponential,
    Gaussian,
    Rectangular,
    Sigmoid,
    Slopes,
    SuperSpike,
    Surrogate,
    Triangle,
)  # fmt: skip
from snnguard.neurons.watch import Membrane, Watch, delivered

from .build import TYPES, Setting, library
from .noise import for_c
from .normalisation import Normalisation
from .packing import mark
from .step import dense, moment_slopes, shape

SURROGATES: dict[type[Surrogate], Callable[[Any], tuple[float, float]]] = {
    Triangle: lambda h: (h.gamma, 0.0),
    Rectangular: lambda h: (h.width, 0.0),
    Sigmoid: lambda h: (h.alpha, 0.0),
    SuperSpike: lambda h: (h.beta, 0.0),
    ATan: lambda h: (h.alpha, 0.0),
    Gaussian: lambda h: (h.sigma, 0.0),
    Exponential: lambda h: (h.alpha, h.beta),
    Dspike: lambda h: (h.b, h.b / (2 * math.tanh(h.b / 2))),
}
"""The constants of each surrogate; its place is its number in `slope` of native_loops.h."""

BANDS = 8


class _Setting(NamedTuple):
    steps: int
    decay: float
    threshold: float
    reset: Reset
    detach_reset: bool
    surrogate: Surrogate
    watch: Watch
    noise: Noise | None
    norm: Normalisation | None

    def for_c(self, step: Tensor, given: int) -> Setting:
        """`step` is one time step, dense in memory."""
        kind = type(self.surrogate)
        first, second = SURROGATES[kind](self.surrogate)
        return Setting(
            self.steps, given, *shape(step), self.decay, self.threshold, self.reset == "subtract", self.detach_reset,
            list(SURROGATES).index(kind), first, second, self.watch.moments, len(self.watch.bands), torch.get_num_threads(),
            **for_c(self.noise),
        )  # fmt: skip


def takes(current: Tensor, *, surrogate: Slopes, watch: Watch | None, leak: Tensor | None) -> bool:
    """Whether this backend is there and can do this: on the CPU, one decay, a surrogate of this room, at most 8 bands."""
    return (
        current.device.type == "cpu"
        and current.dtype in TYPES
        and leak is None
        and type(surrogate) in SURROGATES
        and len(watch.bands if watch else ()) <= BANDS
        and library() is not None
    )


def native(
    current: Tensor,
    *,
    steps: int,
    decay: float,
    threshold: float,
    reset: Reset,
    detach_reset: bool,
    surrogate: Slopes,
    watch: Watch | None = None,
    noise: Noise | None = None,
    norm: Normalisation | None = None,
) -> tuple[Tensor, Membrane | None]:
    """The same as `dynamics.unroll`, for what `takes` allows. What is watched of bfloat16 comes in float32.

    With `norm` the current [T or 1, N, C, H, W] is normalised as it is read.
    """
    assert isinstance(surrogate, Surrogate)
    watch = watch or Watch()
    setting = _Setting(steps, decay, threshold, reset, detach_reset, surrogate, watch, noise, norm)
    weights = (None, None) if norm is None else (norm.weight, norm.bias)
    spikes, mean, var, hinge, potential = _Native.apply(current, *weights, setting)  # type: ignore[no-untyped-call]
    mark(spikes)
    return spikes, delivered(watch, spikes, mean, var, hinge, potential)


def batch_moments(current: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance [C], in float64, of a current [S, N, C, H, W] that `takes` allows. No gradient."""
    current = dense(current.detach(), over_time(current, len(current)))
    mean, var = torch.empty(2, current.shape[2], dtype=torch.float64)
    c = Setting(steps=1, given=len(current), threads=torch.get_num_threads())
    c.outer, c.channels, c.inner = shape(current[0])
    _call("batch_moments", current, c, current, mean, var)
    return mean, var


class _Native(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: Tensor, weight: Tensor | None, bias: Tensor | None, setting: _Setting) -> tuple[Tensor, ...]:  # noqa: ARG004
        watch, steps = setting.watch, setting.steps
        spikes = over_time(current, steps)
        current = dense(current, spikes)
        c = setting.for_c(spikes[0], len(current))
        precise = torch.float64 if current.dtype == torch.float64 else torch.float32
        affine = [] if setting.norm is None else [values.to(precise) for values in setting.norm.affine()]
        assert all(values.shape == (c.channels,) and values.is_contiguous() for values in affine)
        moments = torch.empty(2, steps if watch.moments else 0, c.channels, dtype=torch.float64, device=current.device)
        hinges = torch.zeros(len(watch.bands), dtype=torch.float64, device=current.device)
        potential = torch.empty_like(spikes, dtype=precise) if watch.potential else current.new_zeros(0)
        bands = torch.tensor(watch.bands, dtype=torch.float64, device=current.device)
        _call(
            "forward", current, c, current, *(affine or (None, None)), spikes, moments[0], moments[1], bands, hinges,
            potential if watch.potential else None,
        )  # fmt: skip
        ctx.save_for_backward(current, moments[0], *affine)
        ctx.setting = setting
        ctx.set_materialize_grads(False)
        hinges /= spikes.numel()
        return spikes, moments[0].to(precise), moments[1].to(precise), hinges.to(precise), potential

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,
        g_spikes: Tensor | None,
        g_mean: Tensor | None,
        g_var: Tensor | None,
        g_hinge: Tensor | None,
        g_potential: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        setting: _Setting = ctx.setting
        current, mean, *affine = ctx.saved_tensors
        out = torch.empty_like(current)
        every = over_time(current, setting.steps) if len(current) == 1 < setting.steps else out  # only for its strides
        c = setting.for_c(current[0], len(current))
        n = max(every[0].numel() // max(c.channels, 1), 1)
        constant = slope = weights = None
        if setting.watch.moments and (g_mean is not None or g_var is not None):
            constant, slope = moment_slopes(mean, g_mean, g_var, threshold=setting.threshold, count=n)
        if setting.watch.bands and g_hinge is not None:
            weights = (g_hinge.double() / every.numel()).contiguous()
        else:
            c.bands = 0
        bands = torch.tensor(setting.watch.bands, dtype=torch.float64, device=current.device)
        g_potential = g_potential if setting.watch.potential else None
        norm, through = setting.norm, [*affine, None, None, None][:2]
        middle = sums = None
        if norm is not None:
            middle = norm.mean.to(affine[0].dtype)
            if norm.of_batch or any(ctx.needs_input_grad[1:3]):
                sums = torch.zeros(2, c.channels, dtype=torch.float64)
        _call(
            "backward", current, c, current, *through, middle, None if g_spikes is None else dense(g_spikes, every),
            constant, slope, bands, weights, None if g_potential is None else dense(g_potential, every), out, sums,
        )  # fmt: skip
        if norm is None or sums is None:
            return out, None, None, None
        g_weight, g_bias, *rest = norm.gradients(sums[0], sums[1], affine[0], n * len(current))
        _call("normalised", current, c, current, affine[0], middle, *(values.to(affine[0].dtype) for values in rest), out)
        return out, g_weight.to(norm.weight.dtype), g_bias.to(norm.bias.dtype), None


def _call(name: str, current: Tensor, setting: Setting, *tensors: Tensor | None) -> None:
    """Calls the function of native.c for the type of `current`; None is a null pointer."""
    assert all(tensor is None or tensor.device.type == "cpu" for tensor in tensors)
    pointers = [ctypes.c_void_p(None if tensor is None else tensor.data_ptr()) for tensor in tensors]
    found = library()
    assert found is not None
    if setting.outer * setting.channels * setting.inner == 0:
        return
    if getattr(found, f"{name}_{TYPES[current.dtype]}")(ctypes.byref(setting), *pointers):
        raise OutOfMemory(f"no memory was left for a layer of shape {tuple(current.shape)}; use smaller batches")
