"""Spikes that wait for the backward pass as bits: a 32nd of their memory.

A layer after a neuron keeps its input, the spikes, for the gradient of its weights. Within `packed_spikes()` they are kept
as bits and written out again when they are needed. The values are the same; what changes is the memory.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from .build import TYPES, library


class _Packed(NamedTuple):
    """What is needed to write a train of spikes out again, in the memory order that it had."""

    bits: Tensor
    dtype: torch.dtype
    shape: torch.Size
    stride: tuple[int, ...]


@contextmanager
def packed_spikes() -> Iterator[None]:
    """Within the block, graphs keep the spikes of the compiled kernels as bits."""
    with torch.autograd.graph.saved_tensors_hooks(_pack, _unpack):
        yield


def mark(spikes: Tensor) -> None:
    """Says that a dense tensor holds nothing but 0 and 1, as long as nobody writes to it (other than
    through `.data`, which no version counts)."""
    if not spikes.is_inference():  # those have no version, and never a graph
        spikes.holds_spikes = spikes._version  # type: ignore[attr-defined]


def holds_spikes(x: Tensor) -> bool:
    """Whether `x` is known to hold nothing but 0 and 1: spikes of a compiled kernel, all of them, in any shape or order."""
    if x.is_inference():
        return False
    whole = x if x._base is None else x._base
    marked: int | None = getattr(whole, "holds_spikes", None)
    return marked is not None and marked == whole._version and x.dtype == whole.dtype and _same_elements(x, whole)


def _pack(x: Tensor) -> Tensor | _Packed:
    if not holds_spikes(x):
        return x
    whole = x if x._base is None else x._base
    bits: Tensor | None = getattr(whole, "bits", None)
    if bits is None:
        bits = torch.empty((x.numel() + 7) // 8, dtype=torch.uint8, device=x.device)
        _call("pack", whole, bits, whole.dtype, whole.numel())
        whole.bits = bits  # type: ignore[attr-defined]
    return _Packed(bits, x.dtype, x.shape, x.stride())


def _same_elements(x: Tensor, whole: Tensor) -> bool:
    """Whether `x` is `whole` in another order or shape: dense from the same place, and not one part of it repeated."""
    step = 1
    for stride, size in sorted(zip(x.stride(), x.shape, strict=True)):
        if size != 1 and stride != step:
            return False
        step *= size
    return x.data_ptr() == whole.data_ptr() and x.numel() == whole.numel() > 0


def _unpack(kept: Tensor | _Packed) -> Tensor:
    if isinstance(kept, Tensor):
        return kept
    x = torch.empty_strided(kept.shape, kept.stride, dtype=kept.dtype, device=kept.bits.device)
    _call("unpack", kept.bits, x, kept.dtype, x.numel())
    return x


def _call(name: str, source: Tensor, target: Tensor, dtype: torch.dtype, size: int) -> None:
    if source.is_cuda:
        from . import gpu_elements  # only here: Triton need not be installed

        getattr(gpu_elements, name)(source, target)
        return
    found = library()
    assert found is not None
    function = getattr(found, f"{name}_{TYPES[dtype]}")
    function(
        ctypes.c_void_p(source.data_ptr()), ctypes.c_void_p(target.data_ptr()), ctypes.c_int64(size),
        ctypes.c_int64(torch.get_num_threads()),
    )  # fmt: skip
