"""Corruptions of the sensor: Gaussian, shot and impulse noise. SOURCE: Hendrycks & Dietterich 2019, constants of CIFAR-10-C."""

import torch
from torch import Tensor

from .dice import Dice

GAUSSIAN_STD = (0.04, 0.06, 0.08, 0.09, 0.10)
SHOT_PHOTONS = (500, 250, 100, 75, 50)
IMPULSE_SHARE = (0.01, 0.02, 0.03, 0.05, 0.07)


def gaussian_noise(x: Tensor, severity: int, dice: Dice) -> Tensor:
    """x + N(0, std^2) in every value."""
    return x + GAUSSIAN_STD[severity - 1] * dice.normal(*x.shape[1:])


def shot_noise(x: Tensor, severity: int, dice: Dice) -> Tensor:
    """Poisson(k x) / k: what a sensor counts that white fills with k photons."""
    photons = SHOT_PHOTONS[severity - 1]
    return dice.poisson(photons * x) / photons


def impulse_noise(x: Tensor, severity: int, dice: Dice) -> Tensor:
    """A share of the values, each channel by itself, becomes 0 or 1 with equal odds."""
    share, drawn = IMPULSE_SHARE[severity - 1], dice.uniform(*x.shape[1:])
    x = torch.where(drawn < share / 2, 0.0, x)
    return torch.where(drawn >= 1 - share / 2, 1.0, x)
