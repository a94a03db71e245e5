"""Backends of the time loop in `dynamics.py`: the same spikes, the same gradients, faster.

`run` chooses: native.c, compiled at first use, on the CPU; PyTorch operations everywhere and for everything else.
"""

from typing import Any

import torch
from torch import Tensor

from snnguard.neurons.watch import Membrane

from . import native as _native
from .fused import fused
from .native import native

__all__ = ["fused", "native", "run"]


def run(current: Tensor, *, leak: Tensor | None = None, **call: Any) -> tuple[Tensor, Membrane | None]:
    """`dynamics.unroll` without mechanisms, on the fastest backend that can do it.

    The membrane of a current in half precision is float32; its spikes may come back in either.
    """
    if _native.takes(current, surrogate=call["surrogate"], watch=call.get("watch"), leak=leak):
        return native(current, **call)
    precise = current.float() if current.dtype in (torch.bfloat16, torch.float16) else current
    return fused(precise, leak=leak, **call)
