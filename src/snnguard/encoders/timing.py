"""Encoders that put the brightness of a pixel into the timing of its spikes; images in [0, 1], deterministic."""

from collections.abc import Callable
from typing import Literal, final

import torch
from torch import Tensor

from snnguard.neurons import straight_through

from .encoder import Encoder

ROUNDING = 1e-5
"""A pixel such as 85/255 at 3 steps lies on the border of two steps, up to rounding; it belongs to the later one."""


@final
class Latency(Encoder, kind="latency"):
    """One spike at step floor((1 - x) T): bright pixels fire early, a pixel of 0 never (time to first spike).

    The backward pass is the identity in the step of the spike. SOURCE: the converters compared in METHODS 3.
    """

    def encode(self, x: Tensor, *, steps: int, normalize: Callable[[Tensor], Tensor]) -> Tensor:  # noqa: ARG002
        bright = x.detach()
        fires = ((1 - bright) * steps + ROUNDING).floor().clamp(max=steps - 1) == _steps(x, steps)
        return _spiking(x, fires & (bright > 0), steps)


@final
class Burst(Encoder, kind="burst"):
    """A pixel of x fires in the first ("early") or last ("late") steps, ceil(x T) of them in a row.

    The backward pass is the identity in every step with a spike. SOURCE: the pre and post coding of METHODS 3.
    """

    side: Literal["early", "late"] = "early"

    def encode(self, x: Tensor, *, steps: int, normalize: Callable[[Tensor], Tensor]) -> Tensor:  # noqa: ARG002
        time = _steps(x, steps)
        place = time if self.side == "early" else steps - 1 - time
        return _spiking(x, place / steps < x.detach(), steps)


def _steps(x: Tensor, steps: int) -> Tensor:
    """0, ..., T - 1 along the first axis of images [T or 1, N, C, H, W]."""
    return torch.arange(steps, device=x.device, dtype=x.dtype).reshape(-1, *[1] * (x.ndim - 1))


def _spiking(x: Tensor, fires: Tensor, steps: int) -> Tensor:
    spikes = fires.to(x.dtype)
    return straight_through(spikes, x.expand(steps, *x.shape[1:]) * spikes)
