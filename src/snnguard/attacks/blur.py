"""Corruptions of the lens: defocus, frosted glass, motion, zoom. SOURCE: Hendrycks & Dietterich 2019, constants of CIFAR-10-C.

All lengths are pixels of a 32x32 image and grow and shrink with it (`sampling.scale`): on 8x8 images most blurs are slight.
Their severity is not always distance: motion 3 is motion 4 (twelve and sixteen pixels of a Gaussian of two), and glass comes
nearer again from 1 to 3 and from 4 to 5, since the Gaussian smooths what was shuffled.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from .dice import Dice
from .sampling import moved, scale, zoomed

DEFOCUS_RADIUS_AND_SOFTNESS = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))
GLASS_SIGMA_REACH_ROUNDS = ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))
MOTION_RADIUS_AND_SIGMA = ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))
ZOOM_HUNDREDTHS = (6, 11, 15, 20, 25)


def defocus_blur(x: Tensor, severity: int, dice: Dice) -> Tensor:  # noqa: ARG001
    """The image convolved with a disk whose edge is softened by a Gaussian."""
    radius, softness = DEFOCUS_RADIUS_AND_SOFTNESS[severity - 1]
    kernel = disk(radius, softness, size=scale(x))
    return torch.from_numpy(ndimage.convolve(x.numpy(), kernel[None, None], mode="mirror"))


def disk(radius: float, softness: float, *, size: float) -> NDArray[np.float64]:
    """The pixels within `radius * size` of the middle, smoothed by a 3x3 Gaussian, of sum 1, [k, k].

    The softness smooths the steps of the edge: it is in pixels at every size, as in the authors' ImageNet-C. For images smaller
    than 32x32 the kernel at 32x32 is laid on a finer grid, each weight shared by the pixels around it: else the smaller disks
    would all be the single pixel in the middle.
    """
    grown, step = radius * max(size, 1.0), min(size, 1.0)
    reach = math.ceil(grown) + 1
    taps = np.arange(-reach, reach + 1)
    kernel = (taps[:, None] ** 2 + taps**2 <= grown**2).astype(np.float64)
    kernel = ndimage.gaussian_filter(kernel, softness, mode="constant", radius=1)
    shares = np.clip(1 - np.abs(taps[:, None] - step * taps), 0, 1)  # [pixel, tap], bilinear; the identity for step 1
    kernel = shares @ kernel @ shares.T
    return np.asarray(kernel / kernel.sum())


def glass_blur(x: Tensor, severity: int, dice: Dice) -> Tensor:
    """Each pixel takes the value of a random neighbour, once or twice, between two Gaussian blurs.

    SOURCE: a neighbour up to `reach` pixels before and reach - 1 behind. DEVIATION: the paper says that neighbours swap; the
    code that made CIFAR-10-C copies one over the other (a swap of two NumPy views), and so do we. Pixels at the edge move too.
    """
    sigma, reach, rounds = GLASS_SIGMA_REACH_ROUNDS[severity - 1]
    far = max(1, round(reach * scale(x)))  # a pixel at least, or nothing would move
    x = _gaussian(x, sigma * scale(x))
    for _ in range(rounds):
        x = moved(x, (2 * far * dice.uniform(2, *x.shape[-2:])).floor() - far)
    return _gaussian(x, sigma * scale(x))


def motion_blur(x: Tensor, severity: int, dice: Dice) -> Tensor:
    """Streaks to one side, at an angle of up to 45 degrees to the rows."""
    radius, sigma = MOTION_RADIUS_AND_SIGMA[severity - 1]
    return streaked(x, radius, sigma, angle=math.pi / 4 * (2 * dice.uniform() - 1))


def streaked(x: Tensor, radius: float, sigma: float, *, angle: Tensor) -> Tensor:
    """sum_t w(t) x(p + t (sin a, cos a)) with w(t) ~ exp(-t^2 / 2 sigma^2), 0 <= t <= 2 radius, for each image's angle [N].

    SOURCE: ImageMagick's motion blur, which made CIFAR-10-C: one-sided, 2 radius + 1 taps a pixel apart. DEVIATION: taps lie
    exactly on the line and are interpolated, ImageMagick rounds them to pixels; those beyond four sigma are left out.
    """
    size = scale(x)
    step = min(size, 1.0)  # on smaller images the same taps, closer together; on larger ones still one for each pixel
    reach = min(2 * radius, 4 * sigma) * size
    taps = [i * step for i in range(math.floor(reach / step) + 1)]
    weights = [math.exp(-((tap / size / sigma) ** 2) / 2) for tap in taps]
    direction = torch.stack([angle.sin(), angle.cos()], 1)[:, :, None, None]
    total = torch.zeros_like(x)
    for tap, weight in zip(taps, weights, strict=True):
        total += weight / sum(weights) * moved(x, tap * direction)
    return total


def zoom_blur(x: Tensor, severity: int, dice: Dice) -> Tensor:  # noqa: ARG001
    """The mean of the image and of its zooms by 1.00, 1.01, 1.02, ...: the image itself counts twice.

    DEVIATION: each zoom is about the exact middle; CIFAR-10-C's crops whole pixels, so its first steps change nothing.
    """
    last = ZOOM_HUNDREDTHS[severity - 1]
    total = 2 * x
    for hundredths in range(1, last + 1):
        total += zoomed(x, 1 + hundredths / 100)
    return total / (last + 2)


def _gaussian(x: Tensor, sigma: float) -> Tensor:
    return torch.from_numpy(ndimage.gaussian_filter(x.numpy(), sigma, mode="nearest", axes=(2, 3)))
