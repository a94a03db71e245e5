"""Backends of the time loop in `dynamics.py`: the same spikes, the same gradients, faster.

`run` chooses: native.c, compiled at first use, on the CPU; PyTorch operations everywhere and for everything else.
"""

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


def run(
    current: Tensor, *, leak: Tensor | None = None, noise: Noise | None = None, **call: Any
) -> tuple[Tensor, Membrane | None]:
    """`dynamics.unroll` without mechanisms, on the fastest backend that can do it.

    The membrane of a current in half precision is float32; its spikes may come back in either. `noise` is not yet in the
    current.
    """
    if _native.takes(current, surrogate=call["surrogate"], watch=call.get("watch"), leak=leak):
        return native(current, noise=noise, **call)
    precise = current.float() if current.dtype in (torch.bfloat16, torch.float16) else current
    added = None if noise is None else as_tensor(noise, precise, call["steps"])
    return fused(precise if added is None else precise + added, leak=leak, noise=added, **call)
