# mypy: disable-error-code="no-untyped-def"
"""The backend for CUDA, in Triton: one pass over memory each way, and nothing kept but the current.

Forward bits equal those of `dynamics.unroll` (a product and a sum are two roundings: fusion is switched off); gradients agree
to rounding. Currents in half precision are computed with in float32. Without a GPU the kernels run in Triton's interpreter
(TRITON_INTERPRET=1), which is how they are tested. Imported on first use: Triton need not be there.

A normalisation before the neuron goes the same way: I = slope * x + offset, per channel, on x as it is read.

A step is seen as [outer, channels, inner], a program has `ROWS` places in (outer, inner) and `COLUMNS` channels. The backward
pass makes the membranes again and parks them in `scratch`, which the cache holds, until the sweep back in time reads them.
"""

from functools import cache
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from snnguard.neurons.drawn import over_time
from snnguard.neurons.dynamics import Reset
from snnguard.neurons.surrogate import Slopes, Surrogate
from snnguard.neurons.watch import Membrane, Watch, delivered

from .gpu_elements import Tiles, elements, merged, normalised
from .native import SURROGATES
from .normalisation import Normalisation
from .packing import mark
from .step import dense, moment_slopes


class _Setting(NamedTuple):
    steps: int
    decay: float
    threshold: float
    reset: Reset
    detach_reset: bool
    surrogate: Surrogate
    watch: Watch
    norm: Normalisation | None

    def constants(self, given: int) -> dict[str, Any]:
        """Arguments that both kernels share and that are compiled in."""
        return {
            "STEPS": self.steps, "GIVEN": given, "DECAY": self.decay, "THRESHOLD": self.threshold,
            "SUBTRACT": self.reset == "subtract", "BANDS": len(self.watch.bands), "enable_fp_fusion": False,
        }  # fmt: skip

    def slope(self) -> dict[str, Any]:
        """What only the backward pass needs."""
        kind = type(self.surrogate)
        first, second = SURROGATES[kind](self.surrogate)
        return {"DETACH": self.detach_reset, "KIND": list(SURROGATES).index(kind), "FIRST": first, "SECOND": second}


def takes(current: Tensor, *, surrogate: Slopes, leak: Tensor | None) -> bool:
    """Whether this backend can do this; the caller has seen to it that Triton is there."""
    return (
        current.dtype in (torch.float32, torch.bfloat16, torch.float16)  # in float64 Triton's constants would be float32
        and leak is None
        and type(surrogate) in SURROGATES
    )


def gpu(
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
    norm: Normalisation | None = None,
) -> tuple[Tensor, Membrane | None]:
    """The same as `dynamics.unroll`, for what `takes` allows. What is watched of half precision comes in float32.

    `noise` [T, N, *F] is in the current already; with `norm`, which comes before it, it is added here.
    """
    assert isinstance(surrogate, Surrogate)
    watch = watch or Watch()
    setting = _Setting(steps, decay, threshold, reset, detach_reset, surrogate, watch, norm)
    weights = (None, None) if norm is None else (norm.weight, norm.bias)
    spikes, mean, var, hinge, potential = _GPU.apply(current, *weights, noise, setting)
    mark(spikes)
    return spikes, delivered(watch, spikes, mean, var, hinge, potential)


class _GPU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, current: Tensor, weight: Tensor | None, bias: Tensor | None, noise: Tensor | None, setting: _Setting  # noqa: ARG004
    ) -> tuple[Tensor, ...]:  # fmt: skip
        watch, steps = setting.watch, setting.steps
        spikes = over_time(current, steps)
        current = dense(current, spikes)
        adds = noise is not None and setting.norm is not None
        noise = dense(noise, spikes) if noise is not None and (watch or adds) else None
        precise = torch.float64 if current.dtype == torch.float64 else torch.float32
        affine = [] if setting.norm is None else [values.to(precise).contiguous() for values in setting.norm.affine()]
        potential = torch.empty_like(spikes, dtype=precise) if watch.potential else current.new_zeros(0)
        tiles = Tiles.of(spikes[0])
        blocks = tiles.grid[0]
        middle, squares = current.new_zeros(2, blocks if watch.moments else 0, steps, tiles.channels, dtype=precise)
        hinges = current.new_zeros(*tiles.grid, steps, len(watch.bands), dtype=precise)
        bands = _bands(watch.bands, precise, current.device)
        if spikes.numel():
            with torch.cuda.device_of(current):
                _forward[tiles.grid](
                    current, *(affine or (current, current)), noise if noise is not None else current, spikes, middle,
                    squares, bands, hinges, potential, tiles.places, tiles.channels, tiles.inner,
                    AFFINE=bool(affine), NOISY=noise is not None, ADDS=adds, MOMENTS=watch.moments,
                    POTENTIAL=watch.potential, ROWS=tiles.rows, COLUMNS=tiles.columns, **setting.constants(len(current)),
                )  # fmt: skip
        mean, var = merged(middle, squares, tiles) if watch.moments else (middle, squares)
        ctx.save_for_backward(current, noise, mean, *affine)
        ctx.setting, ctx.adds = setting, adds
        ctx.set_materialize_grads(False)
        return spikes, mean, var, hinges.sum((0, 1, 2)) / max(spikes.numel(), 1), potential

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
        watch, norm = setting.watch, setting.norm
        current, noise, mean, *affine = ctx.saved_tensors
        out = torch.empty_like(current)
        precise = torch.float64 if current.dtype == torch.float64 else torch.float32
        scratch = over_time(current, setting.steps, dtype=precise)
        tiles = Tiles.of(current[0])
        n = max(current[0].numel() // max(tiles.channels, 1), 1)
        moments = watch.moments and (g_mean is not None or g_var is not None)
        slope = constant = weights = mean
        if moments:
            constant, slope = moment_slopes(mean, g_mean, g_var, threshold=setting.threshold, count=n)
        hinge = bool(watch.bands) and g_hinge is not None
        bands = _bands(watch.bands, precise, current.device)
        if g_hinge is not None:
            weights = (g_hinge / max(scratch.numel(), 1)).contiguous()
        g_potential = g_potential if watch.potential else None
        sums = current.new_zeros(2, tiles.grid[0] if norm is not None else 0, tiles.channels, dtype=precise)
        middle = mean if norm is None else norm.mean.to(precise).contiguous()
        batch = norm is not None and norm.of_batch
        if scratch.numel():
            with torch.cuda.device_of(current):
                _backward[tiles.grid](
                    current, *(affine or (current, current)), middle, current if noise is None else noise,
                    current if g_spikes is None else dense(g_spikes, scratch), constant, slope, bands, weights,
                    current if g_potential is None else dense(g_potential, scratch), scratch, out, sums[0], sums[1],
                    tiles.places, tiles.channels, tiles.inner, AFFINE=norm is not None, SCALES=not batch,
                    NOISY=noise is not None, ADDS=ctx.adds, SPIKES=g_spikes is not None,
                    MOMENTS=moments, POTENTIAL=g_potential is not None, ROWS=tiles.rows, COLUMNS=tiles.columns,
                    **(setting.constants(len(current)) | setting.slope() | ({} if hinge else {"BANDS": 0})),
                )  # fmt: skip
        if norm is None:
            return out, None, None, None, None
        total, product = sums.double().sum(1)
        g_weight, g_bias, fixed, linear = norm.gradients(total, product, affine[0], n * len(current))
        if batch:
            normalised(current, out, affine[0], middle, fixed.to(precise), linear.to(precise), tiles)
        return out, g_weight.to(norm.weight.dtype), g_bias.to(norm.bias.dtype), None, None


@cache
def _bands(bands: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Made once: to bring numbers to a GPU is to wait for it."""
    return torch.tensor(bands, dtype=dtype, device=device)


@triton.jit
def _slope(x, KIND: tl.constexpr, FIRST: tl.constexpr, SECOND: tl.constexpr):
    """h at x = u - threshold. The numbers are the places in native.py's table."""
    size = tl.abs(x)
    if KIND == 0:  # triangle
        h = tl.maximum(FIRST - size, 0.0) * (1 / (FIRST * FIRST))
    elif KIND == 1:  # rectangular
        h = tl.where(size < FIRST / 2, 1 / FIRST, 0.0).to(x.dtype)
    elif KIND == 2:  # sigmoid
        y = 1 / (1 + tl.exp(-FIRST * size))
        h = y * (1 - y) * FIRST
    elif KIND == 3:  # superspike
        y = 1 + FIRST * size
        h = 1 / (y * y)
    elif KIND == 4:  # atan
        y = x * (1.57079632679489661923 * FIRST)
        h = FIRST / 2 / (1 + y * y)
    elif KIND == 5:  # gaussian
        h = tl.exp(x * x * (-0.5 / (FIRST * FIRST))) * (1 / (FIRST * 2.50662827463100050242))
    elif KIND == 6:  # exponential
        h = tl.exp(-SECOND * size) * FIRST
    else:  # dspike; SECOND is the height
        e = tl.exp(FIRST * tl.minimum(size, 0.5))
        c = (e + 1 / e) / 2
        h = tl.where(size <= 0.5, SECOND / (c * c), 0.0)
    return h


@triton.jit
def _forward(
    current, scale, offset, noise, spikes, middle, squares, bands, hinges, potential, places, channels, inner,
    AFFINE: tl.constexpr, NOISY: tl.constexpr, ADDS: tl.constexpr, MOMENTS: tl.constexpr, POTENTIAL: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    STEPS: tl.constexpr, GIVEN: tl.constexpr, DECAY: tl.constexpr, THRESHOLD: tl.constexpr, SUBTRACT: tl.constexpr,
    BANDS: tl.constexpr,
):  # fmt: skip
    column, inside, at, step = elements(places, channels, inner, ROWS, COLUMNS)
    precise = middle.dtype.element_ty
    count = tl.minimum(places - tl.program_id(0) * ROWS, ROWS).to(precise)
    by = tl.zeros((1, COLUMNS), precise)
    off = tl.zeros((1, COLUMNS), precise)
    if AFFINE:
        by = tl.load(scale + column, column < channels, other=0.0)
        off = tl.load(offset + column, column < channels, other=0.0)
    v = tl.zeros((ROWS, COLUMNS), precise)
    for t in range(STEPS):
        u = tl.load(current + at + (t if GIVEN > 1 else 0) * step, inside, other=0.0).to(precise)
        if AFFINE:  # rounded as if it were stored: the same bits as PyTorch's
            u = u * by + off
            u = u.to(current.dtype.element_ty).to(precise)
        if ADDS:
            u = u + tl.load(noise + at + t * step, inside, other=0.0).to(precise)
        if t > 0:
            u = u + (v if DECAY == 1 else v * DECAY)
        fired = u >= THRESHOLD
        tl.store(spikes + at + t * step, tl.where(fired, 1.0, 0.0).to(spikes.dtype.element_ty), inside)
        v = tl.where(fired, u - THRESHOLD if SUBTRACT else 0.0, u)
        q = u - THRESHOLD
        if NOISY:
            q = q - tl.load(noise + at + t * step, inside, other=0.0).to(precise)
        if MOMENTS:
            mean = tl.sum(tl.where(inside, q, 0.0), 0, keep_dims=True) / count
            away = tl.where(inside, q - mean, 0.0)
            to = tl.program_id(0) * STEPS * channels + t * channels + column
            tl.store(middle + to, mean, column < channels)
            tl.store(squares + to, tl.sum(away * away, 0, keep_dims=True), column < channels)
        for k in tl.static_range(BANDS):
            hinge = tl.where(inside, tl.maximum(tl.load(bands + k) - tl.abs(q), 0.0), 0.0)
            program = tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)
            tl.store(hinges + (program * STEPS + t) * BANDS + k, tl.sum(hinge))
        if POTENTIAL:
            tl.store(potential + at + t * step, q, inside)


@triton.jit
def _backward(
    current, scale, offset, centre, noise, grad, constant, slope, bands, weights, grad_potential, scratch, out, sums, products,
    places, channels, inner,
    AFFINE: tl.constexpr, SCALES: tl.constexpr, NOISY: tl.constexpr, ADDS: tl.constexpr, SPIKES: tl.constexpr,
    MOMENTS: tl.constexpr, POTENTIAL: tl.constexpr, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr, STEPS: tl.constexpr, GIVEN: tl.constexpr, DECAY: tl.constexpr, THRESHOLD: tl.constexpr,
    SUBTRACT: tl.constexpr, DETACH: tl.constexpr, KIND: tl.constexpr, FIRST: tl.constexpr, SECOND: tl.constexpr,
    BANDS: tl.constexpr,
):  # fmt: skip
    column, inside, at, step = elements(places, channels, inner, ROWS, COLUMNS)
    precise = scratch.dtype.element_ty
    by = tl.zeros((1, COLUMNS), precise)
    off = tl.zeros((1, COLUMNS), precise)
    if AFFINE:
        by = tl.load(scale + column, column < channels, other=0.0)
        off = tl.load(offset + column, column < channels, other=0.0)
    v = tl.zeros((ROWS, COLUMNS), precise)
    for t in range(STEPS):
        u = tl.load(current + at + (t if GIVEN > 1 else 0) * step, inside, other=0.0).to(precise)
        if AFFINE:  # rounded as if it were stored: the same bits as PyTorch's
            u = u * by + off
            u = u.to(current.dtype.element_ty).to(precise)
        if ADDS:
            u = u + tl.load(noise + at + t * step, inside, other=0.0).to(precise)
        if t > 0:
            u = u + (v if DECAY == 1 else v * DECAY)
        tl.store(scratch + at + t * step, u, inside)
        v = tl.where(u >= THRESHOLD, u - THRESHOLD if SUBTRACT else 0.0, u)
    tl.debug_barrier()  # what is parked is read by the thread that parked it; this makes it so in any layout
    later = tl.zeros((ROWS, COLUMNS), precise)
    summed = tl.zeros((1, COLUMNS), precise)
    product = tl.zeros((1, COLUMNS), precise)
    around = tl.zeros((1, COLUMNS), precise)
    if AFFINE:
        around = tl.load(centre + column, column < channels, other=0.0)
    total = tl.zeros((ROWS, COLUMNS), precise)
    for back in range(STEPS):
        t = STEPS - 1 - back
        u = tl.load(scratch + at + t * step, inside, other=0.0)
        h = _slope(u - THRESHOLD, KIND, FIRST, SECOND)
        g = tl.zeros((ROWS, COLUMNS), precise)
        if SPIKES:
            g = tl.load(grad + at + t * step, inside, other=0.0).to(precise)
        later = later * DECAY
        if SUBTRACT:
            if not DETACH:
                g = g - later * THRESHOLD
            later = later + h * g
        else:
            if not DETACH:
                g = g - later * u
            later = h * g + tl.where(u >= THRESHOLD, 0.0, later)
        q = u
        if NOISY:
            q = q - tl.load(noise + at + t * step, inside, other=0.0).to(precise)
        if MOMENTS:
            fixed = tl.load(constant + t * channels + column, column < channels, other=0.0)
            later = later + fixed + tl.load(slope + t * channels + column, column < channels, other=0.0) * q
        x = q - THRESHOLD
        for k in tl.static_range(BANDS):
            weight = tl.where(tl.abs(x) < tl.load(bands + k), tl.load(weights + k), 0.0)
            later = later - tl.where(x > 0, weight, tl.where(x < 0, -weight, 0.0))
        if POTENTIAL:
            later = later + tl.load(grad_potential + at + t * step, inside, other=0.0).to(precise)
        if GIVEN == 1:
            total = total + later
        else:
            if AFFINE:
                x = tl.load(current + at + t * step, inside, other=0.0).to(precise) - around
                summed = summed + tl.sum(tl.where(inside, later, 0.0), 0, keep_dims=True)
                product = product + tl.sum(tl.where(inside, later * x, 0.0), 0, keep_dims=True)
            passed = later * by if AFFINE and SCALES else later
            tl.store(out + at + t * step, passed.to(out.dtype.element_ty), inside)
    if GIVEN == 1:
        if AFFINE:
            x = tl.load(current + at, inside, other=0.0).to(precise) - around
            summed = tl.sum(tl.where(inside, total, 0.0), 0, keep_dims=True)
            product = tl.sum(tl.where(inside, total * x, 0.0), 0, keep_dims=True)
        passed = total * by if AFFINE and SCALES else total
        tl.store(out + at, passed.to(out.dtype.element_ty), inside)
    if AFFINE:
        to = tl.program_id(0) * channels + column
        tl.store(sums + to, summed, column < channels)
        tl.store(products + to, product, column < channels)
