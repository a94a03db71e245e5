"""Roughness: none for a linear loss, the second derivative times the step squared for a quadratic one."""

import pytest

from snnguard.findings import Surface
from snnguard.reproduce.landscape import roughness


def surface(loss: list[list[float]]) -> Surface:
    points = tuple(range(len(loss)))
    rows = tuple(tuple(row) for row in loss)
    return Surface(rule="bptt", eps=1.0, along=points, across=points, loss=rows, accuracy=rows)


def test_a_plane_is_smooth() -> None:
    assert roughness(surface([[2 * a - 3 * b for b in range(5)] for a in range(5)])) == 0


def test_a_bowl_and_a_step() -> None:
    bowl = [[0.5 * 4 * a * a + 0.5 * 2 * b * b for b in range(5)] for a in range(5)]
    assert roughness(surface(bowl)) == pytest.approx((4 + 2) / 2)
    step = [[float(a >= 2) for _ in range(5)] for a in range(5)]
    assert roughness(surface(step)) == pytest.approx((2 / 3) / 2)  # two of three bends along one of two directions
