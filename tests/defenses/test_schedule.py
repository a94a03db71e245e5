"""How a weight rises: the closed forms at their marks."""

import math
from itertools import pairwise

import pytest

from snnguard.defenses.schedule import risen


def test_the_cosine_passes_its_marks() -> None:
    # METHODS 4.8: lambda(0) = 0, half of the maximum midway, the maximum at the end.
    assert risen(0.6, "cosine", 0.0) == 0
    assert risen(0.6, "cosine", 0.5) == pytest.approx(0.3)
    assert risen(0.6, "cosine", 1.0) == pytest.approx(0.6)
    assert risen(0.6, "cosine", 1 / 3) == pytest.approx(0.6 / 4)  # cos(pi/3) = 1/2


def test_linear_and_constant() -> None:
    assert [risen(2.0, "linear", p) for p in (0.0, 0.25, 1.0)] == [0.0, 0.5, 2.0]
    assert [risen(2.0, "constant", p) for p in (0.0, 0.25, 1.0)] == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("rise", ["linear", "cosine", "constant"])
def test_never_falls_and_never_overshoots(rise: str) -> None:
    values = [risen(1.0, rise, i / 100) for i in range(101)]
    assert all(b >= a for a, b in pairwise(values))
    assert min(values) >= 0
    assert max(values) == pytest.approx(1)
    assert all(math.isclose(risen(3.0, rise, i / 100), 3 * v) for i, v in enumerate(values))
