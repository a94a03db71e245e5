# mypy: disable-error-code="no-untyped-def"
"""The backend for CUDA, in Triton: one pass over memory each way, and nothing kept but the current.

Forward bits equal those of `dynamics.unroll` (a product and a sum are two roundings: fusion is switched off); gradients agree
to rounding. Currents in half precision are computed with in float32. Without a GPU the kernels run in Triton's interpreter
(TRITON_INTERPRET=1), which is how they are tested. Imported on first use: Triton need not be there.

A step is seen as [outer, channels, inner], a program has `ROWS` places in (outer, inner) and `COLUMNS` channels. The backward
pass makes the membranes again and parks them in `scratch`, which the cache holds, until the sweep back in time reads them.
"""

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

from .native import SURROGATES
from .step import dense, moment_slopes, shape

PLACES = 1024
"""Elements of one program."""


class _Setting(NamedTuple):
    steps: int
    decay: float
    threshold: float
    reset: Reset
    detach_reset: bool
    surrogate: Surrogate
    watch: Watch

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
) -> tuple[Tensor, Membrane | None]:
    """The same as `dynamics.unroll`, for what `takes` allows. What is watched of half precision comes in float32."""
    assert isinstance(surrogate, Surrogate)
    watch = watch or Watch()
    setting = _Setting(steps, decay, threshold, reset, detach_reset, surrogate, watch)
    spikes, mean, var, hinge, potential = _GPU.apply(current, noise, setting)
    return spikes, delivered(watch, spikes, mean, var, hinge, potential)


class _GPU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: Tensor, noise: Tensor | None, setting: _Setting) -> tuple[Tensor, ...]:
        watch, steps = setting.watch, setting.steps
        spikes = over_time(current, steps)
        current = dense(current, spikes)
        noise = None if noise is None or not watch else dense(noise, spikes)
        precise = torch.float64 if current.dtype == torch.float64 else torch.float32
        potential = torch.empty_like(spikes, dtype=precise) if watch.potential else current.new_zeros(0)
        tiles = _Tiles.of(spikes[0])
        blocks = tiles.grid[0]
        middle, squares = current.new_zeros(2, blocks if watch.moments else 0, steps, tiles.channels, dtype=precise)
        hinges = current.new_zeros(*tiles.grid, steps, len(watch.bands), dtype=precise)
        bands = torch.tensor(watch.bands, dtype=precise, device=current.device)
        if spikes.numel():
            with torch.cuda.device_of(current):
                _forward[tiles.grid](
                    current, noise if noise is not None else current, spikes, middle, squares, bands, hinges, potential,
                    tiles.places, tiles.channels, tiles.inner, NOISY=noise is not None, MOMENTS=watch.moments,
                    POTENTIAL=watch.potential, ROWS=tiles.rows, COLUMNS=tiles.columns, **setting.constants(len(current)),
                )  # fmt: skip
        mean, var = _merged(middle, squares, tiles) if watch.moments else (middle, squares)
        ctx.save_for_backward(current, noise, mean)
        ctx.setting = setting
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
    ) -> tuple[Tensor, None, None]:
        setting: _Setting = ctx.setting
        watch = setting.watch
        current, noise, mean = ctx.saved_tensors
        out = torch.empty_like(current)
        precise = torch.float64 if current.dtype == torch.float64 else torch.float32
        scratch = over_time(current, setting.steps, dtype=precise)
        tiles = _Tiles.of(current[0])
        n = max(current[0].numel() // max(tiles.channels, 1), 1)
        moments = watch.moments and (g_mean is not None or g_var is not None)
        slope = constant = weights = mean
        if moments:
            constant, slope = moment_slopes(mean, g_mean, g_var, threshold=setting.threshold, count=n)
        hinge = bool(watch.bands) and g_hinge is not None
        bands = torch.tensor(watch.bands, dtype=precise, device=current.device)
        if g_hinge is not None:
            weights = (g_hinge / max(scratch.numel(), 1)).contiguous()
        g_potential = g_potential if watch.potential else None
        if scratch.numel():
            with torch.cuda.device_of(current):
                _backward[tiles.grid](
                    current, current if noise is None else noise, current if g_spikes is None else dense(g_spikes, scratch),
                    constant, slope, bands, weights, current if g_potential is None else dense(g_potential, scratch), scratch,
                    out,
                    tiles.places, tiles.channels, tiles.inner, NOISY=noise is not None, SPIKES=g_spikes is not None,
                    MOMENTS=moments, POTENTIAL=g_potential is not None, ROWS=tiles.rows, COLUMNS=tiles.columns,
                    **(setting.constants(len(current)) | setting.slope() | ({} if hinge else {"BANDS": 0})),
                )  # fmt: skip
        return out, None, None


class _Tiles(NamedTuple):
    """How one step is cut into programs."""

    places: int
    channels: int
    inner: int
    rows: int
    columns: int

    @classmethod
    def of(cls, step: Tensor) -> "_Tiles":
        outer, channels, inner = shape(step)
        columns = 1 if inner > 1 else min(triton.next_power_of_2(max(channels, 1)), 64)
        return cls(outer * inner, channels, inner, PLACES // columns, columns)

    @property
    def grid(self) -> tuple[int, int]:
        return triton.cdiv(self.places, self.rows), triton.cdiv(self.channels, self.columns)


def _merged(middle: Tensor, squares: Tensor, tiles: _Tiles) -> tuple[Tensor, Tensor]:
    """Mean and biased variance [T, C] from those of the blocks (Chan's formula)."""
    counts = torch.full((len(middle), 1, 1), float(tiles.rows), dtype=middle.dtype, device=middle.device)
    counts[-1] = tiles.places - (len(middle) - 1) * tiles.rows
    mean = (counts * middle).sum(0) / tiles.places
    return mean, (squares.sum(0) + (counts * (middle - mean).square()).sum(0)) / tiles.places


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
    current, noise, spikes, middle, squares, bands, hinges, potential, places, channels, inner,
    NOISY: tl.constexpr, MOMENTS: tl.constexpr, POTENTIAL: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    STEPS: tl.constexpr, GIVEN: tl.constexpr, DECAY: tl.constexpr, THRESHOLD: tl.constexpr, SUBTRACT: tl.constexpr,
    BANDS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    inside = (row < places) & (column < channels)
    at = (row // inner).to(tl.int64) * channels * inner + column * inner + row % inner
    step = tl.cast(places, tl.int64) * channels
    precise = middle.dtype.element_ty
    count = tl.minimum(places - tl.program_id(0) * ROWS, ROWS).to(precise)
    v = tl.zeros((ROWS, COLUMNS), precise)
    for t in range(STEPS):
        u = tl.load(current + at + (t if GIVEN > 1 else 0) * step, inside, other=0.0).to(precise)
        if t > 0:
            u = u + (v if DECAY == 1 else v * DECAY)
        fired = u >= THRESHOLD
        tl.store(spikes + at + t * step, fired.to(spikes.dtype.element_ty), inside)
        v = tl.where(fired, u - THRESHOLD if SUBTRACT else 0.0, u)
        q = u - THRESHOLD
        if NOISY:
            q = q - tl.load(noise + at + t * step, inside, other=0.0).to(precise)
        if MOMENTS:
            mean = tl.sum(tl.where(inside, q, 0.0), 0, keep_dims=True) / count
            off = tl.where(inside, q - mean, 0.0)
            to = tl.program_id(0) * STEPS * channels + t * channels + column
            tl.store(middle + to, mean, column < channels)
            tl.store(squares + to, tl.sum(off * off, 0, keep_dims=True), column < channels)
        for k in tl.static_range(BANDS):
            hinge = tl.where(inside, tl.maximum(tl.load(bands + k) - tl.abs(q), 0.0), 0.0)
            program = tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)
            tl.store(hinges + (program * STEPS + t) * BANDS + k, tl.sum(hinge))
        if POTENTIAL:
            tl.store(potential + at + t * step, q, inside)


@triton.jit
def _backward(
    current, noise, grad, constant, slope, bands, weights, grad_potential, scratch, out, places, channels, inner,
    NOISY: tl.constexpr, SPIKES: tl.constexpr, MOMENTS: tl.constexpr, POTENTIAL: tl.constexpr, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr, STEPS: tl.constexpr, GIVEN: tl.constexpr, DECAY: tl.constexpr, THRESHOLD: tl.constexpr,
    SUBTRACT: tl.constexpr, DETACH: tl.constexpr, KIND: tl.constexpr, FIRST: tl.constexpr, SECOND: tl.constexpr,
    BANDS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    inside = (row < places) & (column < channels)
    at = (row // inner).to(tl.int64) * channels * inner + column * inner + row % inner
    step = tl.cast(places, tl.int64) * channels
    precise = scratch.dtype.element_ty
    v = tl.zeros((ROWS, COLUMNS), precise)
    for t in range(STEPS):
        u = tl.load(current + at + (t if GIVEN > 1 else 0) * step, inside, other=0.0).to(precise)
        if t > 0:
            u = u + (v if DECAY == 1 else v * DECAY)
        tl.store(scratch + at + t * step, u, inside)
        v = tl.where(u >= THRESHOLD, u - THRESHOLD if SUBTRACT else 0.0, u)
    tl.debug_barrier()  # what is parked is read by the thread that parked it; this makes it so in any layout
    later = tl.zeros((ROWS, COLUMNS), precise)
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
            tl.store(out + at + t * step, later.to(out.dtype.element_ty), inside)
    if GIVEN == 1:
        tl.store(out + at, total.to(out.dtype.element_ty), inside)
