"""Backends of the time loop in `dynamics.py`: the same spikes, the same gradients, faster.

`run` chooses: native.c, compiled at first use, on the CPU; Triton on CUDA; PyTorch operations for everything else.
"""

import os
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from snnguard.neurons.drawn import Noise
from snnguard.neurons.watch import Membrane

from . import native as _native
from .fused import fused
from .native import native
from .noise import as_tensor
from .packing import packed_spikes

__all__ = ["as_tensor", "fused", "native", "packed_spikes", "run"]


@cache
def with_triton() -> bool:
    """Whether Triton is installed; `SNNGUARD_KERNEL=torch` in the environment forgoes it."""
    return find_spec("triton") is not None and os.environ.get("SNNGUARD_KERNEL") != "torch"


def run(
    current: Tensor, *, leak: Tensor | None = None, noise: Noise | None = None, **call: Any
) -> tuple[Tensor, Membrane | None]:
    """`dynamics.unroll` without mechanisms, on the fastest backend that can do it.

    The membrane of a current in half precision is float32; its spikes may come back in either. `noise` is not yet in the
    current.
    """
    if current.is_cuda and with_triton():
        from . import gpu  # only here: Triton need not be installed

        if gpu.takes(current, surrogate=call["surrogate"], leak=leak):
            added = None if noise is None else as_tensor(noise, current, call["steps"])
            return gpu.gpu(current if added is None else current + added, noise=added, **call)
    if _native.takes(current, surrogate=call["surrogate"], watch=call.get("watch"), leak=leak):
        return native(current, noise=noise, **call)
    precise = current.float() if current.dtype in (torch.bfloat16, torch.float16) else current
    added = None if noise is None else as_tensor(noise, precise, call["steps"])
    return fused(precise if added is None else precise + added, leak=leak, noise=added, **call)
