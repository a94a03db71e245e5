"""InfLoR's rectifier: golden numbers, fixed points, continuity, and what it does inside the neuron."""

import math

import pytest
import torch
from torch import nn

from snnguard.layers import watching
from snnguard.neurons import LIF, MembraneNoise, Watch
from snnguard.neurons.rectifier import MembraneRectifier, rectified

DOUBLE = torch.float64


@pytest.mark.parametrize(
    ("u", "wanted"),
    [
        (-7.0, -1.0),
        (-1.0, -0.25992104989),
        (0.0, 0.0),
        (0.25, 0.14914645),
        (0.5, 0.5),
        (1.0, 1.0),
        (2.0, 1.25992104989),
        (8, 2),
    ],
)
def test_golden_numbers(u: float, wanted: float) -> None:
    # Cube root of 2 = 1.25992...; tanh(0.75) / (2 tanh(1.5)) = 0.63514895 / 1.81029651 = 0.35085355.
    assert float(rectified(torch.tensor(u, dtype=DOUBLE))) == pytest.approx(wanted, abs=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_its_fixed_points_are_exact(dtype: torch.dtype) -> None:
    points = torch.tensor([0.0, 0.5, 1.0], dtype=dtype)
    assert torch.equal(rectified(points), points)


def test_it_is_continuous_rises_and_draws_to_zero_and_one() -> None:
    u = torch.linspace(-4, 5, 90_001, dtype=DOUBLE)
    phi = rectified(u)
    assert (phi.diff() > 0).all()
    assert phi.diff().max() < 1e-4 * 1.7  # its steepest slope, at 1/2, is 3 / (2 tanh 1.5) = 1.657
    away = ((u - 0).abs() > 0.01) & ((u - 0.5).abs() > 0.01) & ((u - 1).abs() > 0.01)
    nearest = torch.where(u < 0.5, 0.0, 1.0)
    assert ((phi - nearest).abs() < (u - nearest).abs())[away].all()


def test_it_is_symmetric_about_one_half() -> None:
    u = torch.linspace(-4, 5, 1001, dtype=DOUBLE)
    torch.testing.assert_close(rectified(1 - u), 1 - rectified(u))


def test_its_gradient_is_that_of_a_difference_and_finite_everywhere() -> None:
    u = (torch.linspace(-3, 4, 701, dtype=DOUBLE) + 1e-3).requires_grad_()
    (slope,) = torch.autograd.grad(rectified(u).sum(), u)
    h = 1e-6
    torch.testing.assert_close(slope, (rectified(u + h) - rectified(u - h)).detach() / (2 * h), rtol=0, atol=1e-6)
    hard = torch.tensor([-1e30, -1e10, -1.0, -1e-30, 0.0, 1e-30, 0.5, 1.0, 1e10, 1e30], requires_grad=True)
    (slope,) = torch.autograd.grad(rectified(hard).sum(), hard)
    assert torch.isfinite(slope).all()
    assert (slope >= 0).all()
    assert slope[4] == pytest.approx(1 / 3)
    assert slope[6] == pytest.approx(3 / (2 * math.tanh(1.5)))
    assert slope[7] == pytest.approx(1 / 3)


def test_in_the_neuron_by_hand() -> None:
    # Threshold 2: u1 = 16 becomes 2 * 8^(1/3) = 4 and fires, 4 - 2 = 2 stays; u2 = 2 - 3 = -1 becomes
    # 2 * (1 - 1.5^(1/3)) = -0.289428; u3 = -0.289428 + 1.289428 = 1 is its own image.
    neuron = LIF(threshold=2.0, reset="subtract", traits=(MembraneRectifier(),)).build(steps=3)
    u2 = 2 * (1 - 1.5 ** (1 / 3))
    current = torch.tensor([16.0, -3.0, 1 - u2], dtype=DOUBLE)[:, None, None]
    with watching(nn.Sequential(neuron), Watch(potential=True)) as seen:
        spikes = neuron(current)
    assert spikes.flatten().tolist() == [1, 0, 0]
    assert (seen["0"][0].potential + 2).flatten().tolist() == pytest.approx([4.0, u2, 1.0])


def test_a_single_step_fires_where_the_plain_neuron_does() -> None:
    one = torch.tensor(0.7)
    current = torch.cat([torch.randn(1000, generator=torch.Generator().manual_seed(0)) * 2, one[None]])[None, None]
    plain = LIF(threshold=0.7).build(steps=1)
    ours = LIF(threshold=0.7, traits=(MembraneRectifier(),)).build(steps=1)
    assert torch.equal(plain(current), ours(current))
    assert ours(current)[0, 0, -1] == 1  # at the threshold itself


def test_what_is_watched_is_the_rectified_membrane_without_the_noise() -> None:
    neuron = LIF(traits=(MembraneRectifier(), MembraneNoise(sigma=0.3))).build(steps=1).train()
    with watching(nn.Sequential(neuron), Watch(potential=True)) as seen:
        neuron(torch.full((1, 1, 500), 1.5))
    wanted = rectified(torch.tensor(1.5)).item() - 1
    assert seen["0"][0].potential.flatten().tolist() == pytest.approx([wanted] * 500, abs=1e-6)  # type: ignore[union-attr]
