"""Corruptions of the weather: snow, frost, fog and glare. SOURCE: Hendrycks & Dietterich 2019, constants of CIFAR-10-C."""

import math

import torch
from torch import Tensor

from .blur import streaked
from .dice import Dice
from .sampling import scale, zoomed

SNOW = (
    {"mean": 0.1, "std": 0.2, "zoom": 1.0, "threshold": 0.6, "radius": 8, "sigma": 3, "keep": 0.95},
    {"mean": 0.1, "std": 0.2, "zoom": 1.0, "threshold": 0.5, "radius": 10, "sigma": 4, "keep": 0.9},
    {"mean": 0.15, "std": 0.3, "zoom": 1.75, "threshold": 0.55, "radius": 10, "sigma": 4, "keep": 0.9},
    {"mean": 0.25, "std": 0.3, "zoom": 2.25, "threshold": 0.6, "radius": 12, "sigma": 6, "keep": 0.85},
    {"mean": 0.3, "std": 0.3, "zoom": 1.25, "threshold": 0.65, "radius": 14, "sigma": 12, "keep": 0.8},
)
FROST_KEEP_AND_WEIGHT = ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))
FOG_WEIGHT_AND_DECAY = ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))
BRIGHTNESS = (0.05, 0.1, 0.15, 0.2, 0.3)
LUMA = (0.299, 0.587, 0.114)  # SOURCE: ITU-R BT.601


def snow(x: Tensor, severity: int, dice: Dice) -> Tensor:
    """Streaks of flakes, and the same turned by 180 degrees, over an image that is paler and greyer.

    Flakes are the peaks of Gaussian noise. They grow with images larger than 32x32; on smaller ones, where they are
    hardly more than a pixel already, only the streaks get shorter.
    """
    c = SNOW[severity - 1]
    flakes = zoomed(c["mean"] + c["std"] * dice.normal(1, *x.shape[-2:]), c["zoom"] * max(1.0, scale(x)))
    flakes = torch.where(flakes < c["threshold"], 0.0, flakes.clamp(0, 1))
    falling = streaked(flakes, c["radius"], c["sigma"], angle=-math.pi / 4 * (1 + 2 * dice.uniform()))
    pale = c["keep"] * x + (1 - c["keep"]) * torch.maximum(x, 1.5 * _grey(x) + 0.5)
    return pale + falling + falling.flip(2, 3)


def frost(x: Tensor, severity: int, dice: Dice) -> Tensor:
    """keep * x + weight * frost.

    DEVIATION: CIFAR-10-C lays crops of five photographs of frost over the image. We have none; each image gets crystals of its
    own: bright ridges along the middle heights of a plasma fractal, on dark glass. The numbers compare with no published ones.
    """
    keep, weight = FROST_KEEP_AND_WEIGHT[severity - 1]
    cloud = plasma(x, dice, decay=math.sqrt(2))  # rough: each halving adds half as much
    # The power makes thin crystals, of mean 0.15: under wide, bright ones the darker image at higher severities would not show.
    crystals = (1 - (2 * cloud - 1).abs()) ** 10
    return keep * x + weight * crystals


def fog(x: Tensor, severity: int, dice: Dice) -> Tensor:
    """(x + weight * plasma) * m / (m + weight) with m the brightest value of the image."""
    weight, decay = FOG_WEIGHT_AND_DECAY[severity - 1]
    brightest = x.amax((1, 2, 3), keepdim=True)
    return (x + weight * plasma(x, dice, decay=decay)) * brightest / (brightest + weight)


def brightness(x: Tensor, severity: int, dice: Dice) -> Tensor:  # noqa: ARG001
    """The value of hue, saturation and value raised: max(x) + c over the channels, cut at 1, in the same proportions.

    Grey images, and black pixels, become x + c.
    """
    value = x.amax(1, keepdim=True)
    raised = (value + BRIGHTNESS[severity - 1]).clamp(max=1)
    return torch.where(value > 0, x / value.clamp_min(1e-30) * raised, raised)


def plasma(x: Tensor, dice: Dice, *, decay: float) -> Tensor:
    """A cloud over each image, [N, 1, H, W] from 0 to 1: midpoint displacement on a torus (diamond-square).

    Each halving of the grid adds uniform noise smaller by decay^2, so that the clouds grow with the image; the side is the next
    power of two. SOURCE: Fournier, Fussell & Carpenter 1982.
    """
    height, width = x.shape[-2:]
    side = 2 ** math.ceil(math.log2(max(height, width)))
    cloud = torch.zeros(len(x), side, side, dtype=x.dtype)
    amplitude, step = 1.0, side

    def displaced(mean: Tensor) -> Tensor:
        return mean + amplitude * (2 * dice.uniform(*mean.shape[1:]) - 1)

    while step > 1:
        half = step // 2
        corners = cloud[:, ::step, ::step]
        down, right = corners.roll(-1, 1), corners.roll(-1, 2)
        middles = displaced((corners + down + right + down.roll(-1, 2)) / 4)
        cloud[:, half::step, half::step] = middles
        cloud[:, ::step, half::step] = displaced((corners + right + middles + middles.roll(1, 1)) / 4)
        cloud[:, half::step, ::step] = displaced((corners + down + middles + middles.roll(1, 2)) / 4)
        amplitude, step = amplitude / decay**2, half
    cloud = cloud[:, None, :height, :width]
    lowest, highest = cloud.amin((2, 3), keepdim=True), cloud.amax((2, 3), keepdim=True)
    return (cloud - lowest) / (highest - lowest).clamp_min(1e-30)


def _grey(x: Tensor) -> Tensor:
    """[N, 1, H, W]: the luma of three channels, else the mean of those that there are."""
    shares = x.new_tensor(LUMA) if x.shape[1] == 3 else x.new_full((x.shape[1],), 1 / x.shape[1])
    return torch.einsum("nchw,c->nhw", x, shares)[:, None]
