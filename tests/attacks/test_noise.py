"""Noise has the distribution that it says, is cut to the range, and belongs to the image."""

import math

import pytest
import torch

from snnguard.attacks import Attack, GaussianNoise, UniformNoise
from snnguard.threat import Linf

BY = Linf(eps=8 / 255)


def attacked(attack: Attack, x: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return attack(lambda x: x.flatten(1), x, torch.zeros(len(x), dtype=torch.int64), threat=BY, seed=seed)


def grey(n: int = 4) -> torch.Tensor:
    """Images that differ in one pixel only, so that each has a noise of its own; far from both ends."""
    x = torch.full((n, 3, 32, 32), 0.5)
    x[:, 0, 0, 0] += torch.arange(n) / 100
    return x


@pytest.mark.parametrize("std", [0.02, 0.1])
def test_gaussian_noise_has_its_moments(std: float) -> None:
    noise = attacked(GaussianNoise(std=std), grey()) - grey()
    n = noise.numel()
    assert abs(noise.mean()) < 4 * std / math.sqrt(n)
    assert abs(noise.std() / std - 1) < 4 / math.sqrt(2 * n)
    # Shares within one and two standard deviations, to four standard errors.
    for k in (1, 2):
        share = math.erf(k / math.sqrt(2))
        assert abs((noise.abs() < k * std).double().mean() - share) < 4 * math.sqrt(share * (1 - share) / n)


@pytest.mark.parametrize("radius", [0.05, 0.3])
def test_uniform_noise_has_its_range_and_moments(radius: float) -> None:
    noise = attacked(UniformNoise(radius=radius), grey()) - grey()
    n = noise.numel()
    assert noise.abs().max() <= radius + 1e-6
    assert noise.abs().max() > 0.99 * radius
    assert abs(noise.mean()) < 4 * radius / math.sqrt(3 * n)
    assert abs(noise.std() / (radius / math.sqrt(3)) - 1) < 4 / math.sqrt(n)


@pytest.mark.parametrize("attack", [GaussianNoise(std=0.5), UniformNoise(radius=0.9)])
def test_noise_is_cut_to_the_range(attack: Attack) -> None:
    x_adv = attacked(attack, grey())
    assert x_adv.min() == 0
    assert x_adv.max() == 1


@pytest.mark.parametrize("attack", [GaussianNoise(), UniformNoise()])
def test_noise_belongs_to_the_image_and_the_seed(attack: Attack) -> None:
    x = grey()
    noise = attacked(attack, x) - x
    assert not torch.allclose(noise[0, 1], noise[1, 1], atol=1e-3)
    torch.testing.assert_close(attacked(attack, x.flip(0)) - x.flip(0), noise.flip(0))
    assert torch.equal(attacked(attack, x[2:3]), attacked(attack, x)[2:3])
    assert not torch.equal(attacked(attack, x, seed=1), attacked(attack, x, seed=0))


@pytest.mark.parametrize("attack", [GaussianNoise(std=0), UniformNoise(radius=0)])
def test_no_noise_is_no_change(attack: Attack) -> None:
    assert torch.equal(attacked(attack, grey()), grey())
    assert not attack.bounded
