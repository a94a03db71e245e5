"""native.c as a library, and what its functions are told."""

import ctypes
from pathlib import Path

import torch

from snnguard import compiled

SOURCES = (Path(__file__).with_name("native.c"), Path(__file__).with_name("native_loops.h"))

TYPES = {torch.float32: "f32", torch.float64: "f64", torch.bfloat16: "bf16"}
"""The types that native.c is compiled for, with the endings of its names."""


class Setting(ctypes.Structure):
    """`Setting` of native.c."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("steps", "given", "outer", "channels", "inner")),
        *((name, ctypes.c_double) for name in ("decay", "threshold")),
        *((name, ctypes.c_int64) for name in ("subtract", "detach_reset", "surrogate")),
        *((name, ctypes.c_double) for name in ("first", "second")),
        *((name, ctypes.c_int64) for name in ("moments", "bands", "threads")),
        ("sigma", ctypes.c_double),
        *((name, ctypes.c_int64) for name in ("first_key", "second_key")),
    )


def library() -> ctypes.CDLL | None:
    """The compiled kernel, or None (see `compiled.library`)."""
    return compiled.library(*SOURCES)
