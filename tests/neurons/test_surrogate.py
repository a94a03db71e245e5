"""Surrogates: published values by hand. What holds for every member stands in contracts/test_neurons.py."""

import math

import pytest
import torch

from snnguard.neurons import ATan, Rectangular, Sigmoid, SuperSpike, Surrogate, Triangle


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
    ],
)
def test_windows_of_the_methods_sheet(surrogate: Surrogate, window: float) -> None:
    assert surrogate.window == pytest.approx(window, abs=0.006)


@pytest.mark.parametrize("surrogate", [Triangle(gamma=0.7), Rectangular(width=0.7), Sigmoid(alpha=3), ATan(alpha=3)])
def test_areas_are_one(surrogate: Surrogate) -> None:
    far = torch.tensor([-1e9, 1e9], dtype=torch.float64)
    low, high = surrogate.primitive(far)
    assert float(high - low) == pytest.approx(1, abs=1e-6)


def test_area_of_superspike() -> None:
    low, high = SuperSpike(beta=4).primitive(torch.tensor([-1e9, 1e9], dtype=torch.float64))
    assert float(high - low) == pytest.approx(2 / 4, abs=1e-6)


@pytest.mark.parametrize("wrong", [{"gamma": 0}, {"gamma": -1}, {"gamma": float("nan")}])
def test_a_width_must_be_positive(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="gamma"):
        Triangle(**wrong)
