"""Convolutions and linear layers in float32 on the matrix units of a CPU (matrix.c), where it has such units: Intel AMX.

The units multiply bfloat16. A float32 is the sum of three of them, a spike is one, so a product of spikes and weights takes
three passes and one of two floats six, each many times faster than float32 elsewhere on the processor. What comes out is as
close to the exact result as what PyTorch gives in float32, but not the same last digits; it does not depend on the other images
of the batch, nor on the number of threads.
"""

import ctypes
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from snnguard import compiled
from snnguard.errors import OutOfMemory
from snnguard.neurons import holds_spikes

SOURCE = Path(__file__).with_suffix(".c")


class Product(ctypes.Structure):
    """`Product` of matrix.c."""

    _fields_ = tuple(
        (name, ctypes.c_int64)
        for name in (
            "images", "height", "width", "rows_height", "rows_width", "taps_high", "taps_wide", "stride", "padding", "backward",
            "channels", "columns", "pieces", "weight_pieces", "threads",
        )
    )  # fmt: skip


class Windows(NamedTuple):
    """How a convolution goes over its images: the same stride, and the same padding with zeros, in both directions."""

    stride: int
    padding: int


@cache
def library() -> ctypes.CDLL | None:
    """matrix.c, or None where there is no compiler, or no matrix unit that the system lets us use."""
    found = compiled.library(SOURCE)
    return found if found is not None and found.matrix_works() else None


def fits(channels: int, columns: int) -> bool:
    """Whether a layer of so many channels and outputs fits the tiles of the unit, which are 32 deep."""
    return channels >= 32 and channels % 16 == 0 and columns > 0 and columns % 16 == 0 and library() is not None


def pieces(x: Tensor) -> int:
    """How many bfloat16 each number of `x`, dense in memory, takes: 1 where all are short enough, as spikes and their means
    are, else 3."""
    found = library()
    assert found is not None
    size, threads = ctypes.c_int64(x.numel()), ctypes.c_int64(torch.get_num_threads())
    single = holds_spikes(x) or found.matrix_single(address(x), size, threads)
    return 1 if single else 3


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None, windows: Windows, pieces_of_x: int) -> Tensor:
    """The convolution of x [N, C, H, W] with weight [K, C, h, w]. All here are float32, channels last in memory."""
    height, width = (
        (size + 2 * windows.padding - taps) // windows.stride + 1
        for size, taps in zip(x.shape[2:], weight.shape[2:], strict=True)
    )
    out = _images(x, weight.shape[0], height, width)
    convolve(x, weight, bias, windows, pieces_of_x, out)
    return out


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, windows: Windows, pieces_of_x: int, out: Tensor) -> None:
    """The same, written to `out`."""
    _call("matrix_product", _product(x, out, weight, windows, pieces=pieces_of_x), x, weight, bias, out)


def input_gradient(gradient: Tensor, weight: Tensor, like: Tensor, windows: Windows) -> Tensor:
    """Of a convolution whose input was as `like`, from the gradient of its output."""
    out = _images(gradient, *like.shape[1:])
    _call("matrix_product", _product(gradient, out, weight, windows, backward=True), gradient, weight, None, out)
    return out


def weight_gradient(gradient: Tensor, x: Tensor, like: Tensor, windows: Windows, pieces_of_x: int) -> Tensor:
    """Of a convolution of `x` whose weight was as `like`, from the gradient of its output."""
    out = torch.empty_like(like, memory_format=torch.channels_last)
    setting = _product(x, gradient, like, windows, pieces=pieces_of_x)
    _call("matrix_weight_gradient", setting, x, gradient, out)
    return out


def _images(x: Tensor, channels: int, height: int, width: int) -> Tensor:
    """As many images as there are in `x`, of another size, channels last in memory."""
    # Not a view: those that come out of a function of autograd may not be written to.
    size = (len(x), channels, height, width)
    return torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _product(
    x: Tensor, out: Tensor, weight: Tensor, windows: Windows, *, pieces: int = 3, backward: bool = False
) -> Product:  # fmt: skip
    return Product(
        len(x), *x.shape[2:], *out.shape[2:], *weight.shape[2:], *windows, backward, x.shape[1], out.shape[1], pieces, 3,
        torch.get_num_threads(),
    )  # fmt: skip


def address(x: Tensor | None) -> ctypes.c_void_p:
    """Where a tensor begins, for C."""
    return ctypes.c_void_p(None if x is None else x.data_ptr())


def _call(name: str, setting: Product, *tensors: Tensor | None) -> None:
    found = library()
    assert found is not None
    if getattr(found, name)(ctypes.byref(setting), *map(address, tensors)):
        raise OutOfMemory(f"no memory was left for a layer of {setting.channels} channels and {setting.columns} outputs")
