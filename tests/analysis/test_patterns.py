"""Firing patterns that can be counted."""

import pytest
import torch

from snnguard.analysis import patterns
from snnguard.encoders import Poisson
from snnguard.neurons import LIF
from snnguard.threat import L2, Linf


@pytest.mark.parametrize("encoder", [None, Poisson()])
def test_a_ball_without_extent_has_one_pattern(network, images, encoder):
    model = network() if encoder is None else network(encoder=encoder)
    found = patterns(model, images(5), threat=Linf(eps=0.0), samples=3, batch_size=2)
    assert found.distinct == (1,) * 5
    assert found.moved == (0.0,) * 5
    assert set(found.changed.values()) == {0.0}


def test_two_pixels_that_can_or_cannot_reach_their_threshold(driven):
    """One step, two pixels: 0.5 lies within eps of the threshold and 0.1 does not, so there are 2, 4 and 1 patterns."""
    x = torch.tensor([[0.5, 0.1], [0.5, 0.5], [0.1, 0.1]])[:, None]
    found = patterns(driven(LIF(threshold=0.501), 1), x, threat=Linf(eps=0.1), samples=60)
    assert found.distinct == (2, 4, 1)
    assert found.moved == pytest.approx((1.0, 2**0.5, 0.0))
    assert found.samples == 60
    assert found.changed["neuron"] == pytest.approx(3 * 0.495 / 6, abs=0.06)


def test_larger_balls_hold_more(network, images):
    model = network()
    found = [patterns(model, images(6), threat=L2(eps=eps), samples=8) for eps in (1e-3, 0.05, 2.0)]
    changed = [sum(one.changed.values()) for one in found]
    assert changed == sorted(changed)
    assert changed[0] < changed[2]
    assert sum(found[0].distinct) < sum(found[2].distinct)
    assert all(1 <= count <= 9 for one in found for count in one.distinct)
    assert list(found[0].changed) == ["body.1", "body.3", "body.7"]
