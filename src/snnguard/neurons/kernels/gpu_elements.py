# mypy: disable-error-code="no-untyped-def"
"""What the Triton backend does beside the time loop: moments and gradients of a normalisation, spikes to bits and back."""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from snnguard.neurons.drawn import over_time

from .step import dense, shape

PLACES = 1024
"""Elements of one program."""


class Tiles(NamedTuple):
    """How one step is cut into programs."""

    places: int
    channels: int
    inner: int
    rows: int
    columns: int

    @classmethod
    def of(cls, step: Tensor) -> "Tiles":
        outer, channels, inner = shape(step)
        columns = 1 if inner > 1 else min(triton.next_power_of_2(max(channels, 1)), 64)
        return cls(outer * inner, channels, inner, PLACES // columns, columns)

    @property
    def grid(self) -> tuple[int, int]:
        return triton.cdiv(self.places, self.rows), triton.cdiv(self.channels, self.columns)


def merged(middle: Tensor, squares: Tensor, tiles: Tiles) -> tuple[Tensor, Tensor]:
    """Mean and biased variance [T, C] from those of the blocks (Chan's formula)."""
    counts = torch.full((len(middle), 1, 1), float(tiles.rows), dtype=middle.dtype, device=middle.device)
    counts[-1] = tiles.places - (len(middle) - 1) * tiles.rows
    mean = (counts * middle).sum(0) / tiles.places
    return mean, (squares.sum(0) + (counts * (middle - mean).square()).sum(0)) / tiles.places


def batch_moments(current: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance [C], in float32 or better, of a current [S, N, C, H, W]. No gradient."""
    current = dense(current.detach(), over_time(current, len(current)))
    tiles = Tiles.of(current[0])
    precise = torch.float64 if current.dtype == torch.float64 else torch.float32
    middle, squares = current.new_zeros(2, tiles.grid[0], len(current), tiles.channels, dtype=precise)
    with torch.cuda.device_of(current):
        _moments[tiles.grid](
            current, middle, squares, tiles.places, tiles.channels, tiles.inner, ROWS=tiles.rows, COLUMNS=tiles.columns,
            STEPS=len(current),
        )  # fmt: skip
    mean, var = merged(middle, squares, tiles)
    return mean.mean(0), var.mean(0) + mean.var(0, correction=0)


def normalised(x: Tensor, grad: Tensor, slope: Tensor, mean: Tensor, constant: Tensor, linear: Tensor, tiles: Tiles) -> None:
    """grad <- slope * grad + constant + linear * (x - mean), all [C] but x and grad: of what is normalised by its batch."""
    if x.numel():
        with torch.cuda.device_of(x):
            _normalised[tiles.grid](
                x, grad, slope, mean, constant, linear, tiles.places, tiles.channels, tiles.inner, ROWS=tiles.rows,
                COLUMNS=tiles.columns, STEPS=len(x),
            )  # fmt: skip


def pack(spikes: Tensor, bits: Tensor) -> None:
    """Writes spikes, dense in memory, as bits: eight to a byte, the first the lowest."""
    with torch.cuda.device_of(spikes):
        _pack[(triton.cdiv(len(bits), PLACES),)](spikes, bits, spikes.numel(), SIZE=PLACES)


def unpack(bits: Tensor, spikes: Tensor) -> None:
    """The way back."""
    with torch.cuda.device_of(spikes):
        _unpack[(triton.cdiv(spikes.numel(), PLACES),)](bits, spikes, spikes.numel(), SIZE=PLACES)


@triton.jit
def elements(places, channels, inner, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Of this program: its channels, which of its elements there are, where they lie in a step, and the size of a step."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    inside = (row < places) & (column < channels)
    at = (row // inner).to(tl.int64) * channels * inner + column * inner + row % inner
    return column, inside, at, tl.cast(places, tl.int64) * channels


@triton.jit
def _moments(
    current, middle, squares, places, channels, inner, ROWS: tl.constexpr, COLUMNS: tl.constexpr, STEPS: tl.constexpr
):  # fmt: skip
    column, inside, at, step = elements(places, channels, inner, ROWS, COLUMNS)
    precise = middle.dtype.element_ty
    count = tl.minimum(places - tl.program_id(0) * ROWS, ROWS).to(precise)
    for t in range(STEPS):
        x = tl.load(current + at + t * step, inside, other=0.0).to(precise)
        mean = tl.sum(x, 0, keep_dims=True) / count
        away = tl.where(inside, x - mean, 0.0)
        to = tl.program_id(0) * STEPS * channels + t * channels + column
        tl.store(middle + to, mean, column < channels)
        tl.store(squares + to, tl.sum(away * away, 0, keep_dims=True), column < channels)


@triton.jit
def _normalised(
    current, grad, slope, mean, constant, linear, places, channels, inner, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    STEPS: tl.constexpr,
):  # fmt: skip
    column, inside, at, step = elements(places, channels, inner, ROWS, COLUMNS)
    precise = slope.dtype.element_ty
    by = tl.load(slope + column, column < channels, other=0.0)
    middle = tl.load(mean + column, column < channels, other=0.0)
    fixed = tl.load(constant + column, column < channels, other=0.0)
    along = tl.load(linear + column, column < channels, other=0.0)
    for t in range(STEPS):
        x = tl.load(current + at + t * step, inside, other=0.0).to(precise)
        g = tl.load(grad + at + t * step, inside, other=0.0).to(precise)
        tl.store(grad + at + t * step, (by * g + fixed + along * (x - middle)).to(grad.dtype.element_ty), inside)


@triton.jit
def _pack(spikes, bits, size, SIZE: tl.constexpr):
    byte = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    total = tl.zeros((SIZE,), tl.int32)
    for place in tl.static_range(8):
        at = byte * 8 + place
        total = total | ((tl.load(spikes + at, at < size, other=0.0) != 0).to(tl.int32) << place)
    tl.store(bits + byte, total.to(tl.uint8), byte * 8 < size)


@triton.jit
def _unpack(bits, spikes, size, SIZE: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    byte = tl.load(bits + at // 8, at < size, other=0).to(tl.int32)
    spike = ((byte >> (at % 8).to(tl.int32)) & 1).to(tl.float32)
    tl.store(spikes + at, spike.to(spikes.dtype.element_ty), at < size)
