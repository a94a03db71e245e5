"""Noise as a tensor, for the backends that do not draw it themselves."""

import ctypes

import torch
from torch import Tensor

from snnguard import rng
from snnguard.neurons.drawn import Noise, drawn, over_time

from .build import TYPES, Setting, library


def as_tensor(noise: Noise, current: Tensor, steps: int) -> Tensor:
    """[T, N, *F] in the memory order of `current` [T or 1, N, *F]: what the compiled kernel draws, where there is one."""
    found = library()
    if found is None or current.device.type != "cpu" or current.dtype not in TYPES:
        generator = torch.Generator(current.device).manual_seed(noise.seed)
        return drawn(lambda *a, **k: torch.randn(*a, generator=generator, **k), current, steps).mul_(noise.sigma)
    out = over_time(current, steps)
    setting = Setting(threads=torch.get_num_threads(), **for_c(noise))
    fill = getattr(found, f"fill_{TYPES[current.dtype]}")
    fill(ctypes.byref(setting), ctypes.c_void_p(out.data_ptr()), ctypes.c_int64(out.numel()))
    return out


def for_c(noise: Noise | None) -> dict[str, float | int]:
    """The fields of `Setting` that say which noise."""
    if noise is None:
        return {"sigma": 0.0}
    # Hashed, because keys that differ in one bit would only change the order of the same numbers.
    keys = rng.derive(noise.seed, "noise")
    return {"sigma": noise.sigma, "first_key": keys % 2**31, "second_key": (keys >> 31) % 2**31}
