"""Surrogates: published values by hand. What holds for every member stands in contracts/test_neurons.py."""

import math

import pytest
import torch

from snnguard.neurons import ATan, Dspike, Exponential, Gaussian, Rectangular, Sigmoid, SuperSpike, Surrogate, Triangle


def h(surrogate: Surrogate, at: float) -> float:
    return float(surrogate.derivative(torch.tensor([at], dtype=torch.float64)))


@pytest.mark.parametrize(
    ("surrogate", "at", "value"),
    [
        (Triangle(), 0.0, 1.0),
        (Triangle(), -0.4, 0.6),
        (Triangle(), 1.5, 0.0),
        (Triangle(gamma=2), 0.5, 0.375),
        (Triangle(gamma=0.5), 0.25, 1.0),
        (Rectangular(), 0.49, 1.0),
        (Rectangular(), 0.51, 0.0),
        (Rectangular(width=4), -1.9, 0.25),
        (Sigmoid(), 0.0, 1.0),
        (Sigmoid(alpha=1), 0.0, 0.25),
        (Sigmoid(alpha=2), math.log(3) / 2, 0.375),  # sig = 3/4
        (SuperSpike(), 0.0, 1.0),
        (SuperSpike(), -0.1, 0.25),
        (SuperSpike(beta=1), 3.0, 0.0625),
        (ATan(), 0.0, 1.0),
        (ATan(), 1 / math.pi, 0.5),
        (ATan(alpha=4), -1 / (2 * math.pi), 1.0),
        (Gaussian(), 0.0, math.sqrt(2 / math.pi)),
        (Gaussian(sigma=1 / math.sqrt(2 * math.pi)), -math.sqrt(math.log(3) / math.pi), 1 / 3),  # exp(-pi u^2)
        (Exponential(), 0.0, 1.0),
        (Exponential(), math.log(2) / 2, 0.5),
        (Exponential(alpha=0.3, beta=1), -math.log(3), 0.1),
        (Dspike(b=2 * math.log(3)), 0.0, 1.25 * math.log(3)),  # tanh(ln 3) = 4/5
        (Dspike(b=2 * math.log(3)), -0.25, 0.75 * 1.25 * math.log(3)),  # cosh(ln(3) / 2)^2 = 4/3
        (Dspike(b=2 * math.log(3)), 0.5, 0.36 * 1.25 * math.log(3)),  # cosh(ln 3) = 5/3
        (Dspike(b=2 * math.log(3)), 0.501, 0.0),
        (Dspike(b=1e-8), 0.4, 1.0),
    ],
)
def test_values_by_hand(surrogate: Surrogate, at: float, value: float) -> None:
    assert h(surrogate, at) == pytest.approx(value, abs=1e-15)


@pytest.mark.parametrize(
    ("surrogate", "window"),
    [
        (Triangle(), 1.0),
        (Triangle(gamma=0.3), 0.3),
        (Rectangular(), 0.5),
        (Sigmoid(), 0.91),
        (SuperSpike(), 0.216),
        (ATan(), 0.95),
        (Gaussian(sigma=0.4), 2.15 * 0.4),
        (Exponential(beta=0.5), 2 * 2.3),
        (Dspike(), 0.5),
    ],
)
def test_windows_of_the_methods_sheet(surrogate: Surrogate, window: float) -> None:
    assert surrogate.window == pytest.approx(window, abs=0.006)


@pytest.mark.parametrize(
    "surrogate",
    [
        Triangle(gamma=0.7),
        Rectangular(width=0.7),
        Sigmoid(alpha=3),
        ATan(alpha=3),
        Gaussian(sigma=0.3),
        Exponential(),
        Dspike(b=1.7),
    ],
)
def test_areas_are_one(surrogate: Surrogate) -> None:
    far = torch.tensor([-1e9, 1e9], dtype=torch.float64)
    low, high = surrogate.primitive(far)
    assert float(high - low) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("surrogate", "area"), [(SuperSpike(beta=4), 2 / 4), (Exponential(alpha=0.3, beta=4), 0.6 / 4)])
def test_other_areas(surrogate: Surrogate, area: float) -> None:
    low, high = surrogate.primitive(torch.tensor([-1e9, 1e9], dtype=torch.float64))
    assert float(high - low) == pytest.approx(area, abs=1e-6)


@pytest.mark.parametrize("surrogate", [Gaussian(), Exponential(), Dspike(), Dspike(b=400)])
def test_their_primitives_are_one_half_at_the_threshold_and_finite_far_away(surrogate: Surrogate) -> None:
    x = torch.tensor([-1e30, -600.0, 0.0, 600.0, 1e30])
    assert surrogate.primitive(x).tolist() == pytest.approx([0, 0, 0.5, 1, 1])
    assert surrogate.derivative(x)[[0, 1, 3, 4]].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("wrong", [{"gamma": 0}, {"gamma": -1}, {"gamma": float("nan")}])
def test_a_width_must_be_positive(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="gamma"):
        Triangle(**wrong)
