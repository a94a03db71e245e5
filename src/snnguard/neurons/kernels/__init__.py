"""Backends of the time loop in `dynamics.py`: the same spikes, the same gradients, faster.

`run` chooses: native.c, compiled at first use, on the CPU; Triton on CUDA; PyTorch operations for everything else.
"""

import logging
import os
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from snnguard.neurons.drawn import Noise
from snnguard.neurons.surrogate import Surrogate, Triangle
from snnguard.neurons.watch import Membrane, Watch

from . import native as _native
from .fused import fused
from .native import native
from .noise import as_tensor
from .normalisation import Normalisation
from .packing import holds_spikes, packed_spikes

log = logging.getLogger(__name__)
ONE: dict[str, Any] = {"decay": 1.0, "threshold": 1.0, "reset": "zero", "detach_reset": False}

__all__ = [
    "Normalisation",
    "as_tensor",
    "batch_moments",
    "fused",
    "holds_spikes",
    "may_normalise",
    "native",
    "normalises",
    "packed_spikes",
    "run",
]


@cache
def triton_works(device: torch.device) -> bool:
    """Whether Triton is there and can run a kernel on this device; `SNNGUARD_KERNEL=torch` in the environment forgoes it."""
    if find_spec("triton") is None or os.environ.get("SNNGUARD_KERNEL") == "torch":
        return False
    try:
        from . import gpu

        gpu.gpu(torch.zeros(1, 1, 1, device=device), steps=1, surrogate=Triangle(), **ONE)
    except Exception as error:  # whatever it is (no compiler, a GPU that is too old): there is another way
        log.warning("Triton does not work on %s (%s): the neurons run on PyTorch operations", device, error)
        return False
    return True


def normalises(current: Tensor, *, surrogate: Surrogate, watch: Watch | None) -> bool:
    """Whether a current like this one [S, N, C, H, W] can be normalised on the way into such a neuron."""
    if current.ndim != 5 or not may_normalise(current):
        return False
    if current.is_cuda:
        from . import gpu

        return gpu.takes(current, surrogate=surrogate, leak=None)
    return _native.takes(current, surrogate=surrogate, watch=watch, leak=None)


def may_normalise(current: Tensor) -> bool:
    """Whether currents like this one are normalised by the neuron's kernel where they can be, and so, in eval mode, by its
    product and its sum everywhere: what a network says must not depend on the gradient rule."""
    return current.numel() > 0 and (current.device.type == "cpu" or (current.is_cuda and triton_works(current.device)))


def batch_moments(current: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance [C], in float32 or better, of a current [S, N, C, H, W] that may be normalised. No gradient."""
    if current.is_cuda:
        from . import gpu_elements

        return gpu_elements.batch_moments(current)
    return _native.batch_moments(current)


def run(
    current: Tensor, *, leak: Tensor | None = None, noise: Noise | None = None, norm: Normalisation | None = None, **call: Any
) -> tuple[Tensor, Membrane | None]:
    """`dynamics.unroll` without mechanisms, on the fastest backend that can do it.

    The membrane of a current in half precision is float32; its spikes may come back in either. `noise` is not yet in the
    current, and neither is `norm`, for which `normalises` was asked.
    """
    if current.is_cuda and triton_works(current.device):
        from . import gpu  # only here: Triton need not be installed

        if gpu.takes(current, surrogate=call["surrogate"], leak=leak):
            added = None if noise is None else as_tensor(noise, current, call["steps"])
            return gpu.gpu(current if added is None or norm else current + added, noise=added, norm=norm, **call)
    if norm is not None:
        return native(current, noise=noise, norm=norm, **call)
    if _native.takes(current, surrogate=call["surrogate"], watch=call.get("watch"), leak=leak):
        return native(current, noise=noise, **call)
    precise = current.float() if current.dtype in (torch.bfloat16, torch.float16) else current
    added = None if noise is None else as_tensor(noise, precise, call["steps"])
    return fused(precise if added is None else precise + added, leak=leak, noise=added, **call)
