"""Images sampled at places between and beyond their pixels: shifts, zooms and warps of a whole batch."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Border = Literal["border", "reflection"]


def scale(x: Tensor) -> float:
    """How many times larger than 32 pixels the shorter side of the images [N, C, H, W] is: 1 for CIFAR-10, 1/4 for digits.

    The published corruptions are for 32x32; every length in pixels is multiplied by this, so that a corruption does the same
    to a picture whatever its resolution.
    """
    return min(x.shape[-2:]) / 32


def moved(x: Tensor, by: Tensor, border: Border = "border") -> Tensor:
    """x(p + by(p)), bilinear, for x [N, C, H, W] and `by` in pixels (rows, columns), [N or 1, 2, H or 1, W or 1].

    Beyond the image its edge goes on, or its mirror image.
    """
    height, width = x.shape[-2:]
    rows = torch.arange(height, dtype=x.dtype)[:, None] + by[:, 0]
    columns = torch.arange(width, dtype=x.dtype) + by[:, 1]
    places = torch.stack(torch.broadcast_tensors((2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1), -1)
    places = places.expand(len(x), height, width, 2)
    return functional.grid_sample(x, places, mode="bilinear", padding_mode=border, align_corners=False)


def zoomed(x: Tensor, factor: float) -> Tensor:
    """The middle of the images, `factor` times larger, in the same number of pixels."""
    rows, columns = (torch.arange(side, dtype=x.dtype) - (side - 1) / 2 for side in x.shape[-2:])
    inwards = 1 / factor - 1
    return moved(x, torch.stack(torch.broadcast_tensors(inwards * rows[:, None], inwards * columns))[None])
