"""Flips against the normal distribution in the first step, where the theorem is exact."""

import pytest
import torch
from scipy.stats import norm

from snnguard.analysis import flips
from snnguard.encoders import Poisson
from snnguard.errors import RequestError
from snnguard.neurons import LIF, neurons_of


@pytest.mark.parametrize("settings", [{}, {"encoder": Poisson()}, {"neuron": LIF(threshold=0.7, reset="subtract")}])
def test_in_the_first_step_flips_are_binomial(network, images, settings):
    model = network(**settings)
    found = flips(model, images(40), sigma=0.3, seed=1, batch_size=16)
    assert [(one.layer, one.step) for one in found] == [(layer, step) for layer in neurons_of(model) for step in (1, 2, 3)]
    for one in found:
        assert sum(one.counts) > 0
        low, high = one.edges[:-1], one.edges[1:]
        for count, flipped, expected, a, b in zip(one.counts, one.flipped, one.expected, low, high, strict=True):
            top = b if b < 4 else float("inf")
            assert count * norm.cdf(-top) <= expected + 1e-6
            assert expected <= count * norm.cdf(-a) + 1e-6
            if one.step == 1:
                assert abs(flipped - expected) <= 4.5 * (expected + 1) ** 0.5
    first = found[0]
    assert sum(first.flipped) > 100
    assert first.flipped[0] / first.counts[0] > 0.4  # close to the threshold it is nearly a coin


def test_noise_is_carried_where_there_is_no_leak_and_forgotten_where_all_leaks(driven):
    current = torch.linspace(0.2, 0.8, 4000).reshape(1, 1, -1) / 10  # far from any spike, in every step
    kept = flips(driven(LIF(threshold=0.2), 4), current, sigma=0.1)
    lost = flips(driven(LIF(threshold=0.2, decay=0.0), 4), current, sigma=0.1)
    for one in lost:
        assert abs(sum(one.flipped) - sum(one.expected)) <= 4 * sum(one.expected) ** 0.5
    assert len({one.flipped for one in lost}) == 4  # the noise is fresh in each step, though the current is not
    assert sum(kept[3].flipped) > 1.2 * sum(kept[3].expected)


def test_noise_needs_a_size(driven):
    with pytest.raises(RequestError, match="found sigma=0"):
        flips(driven(LIF(), 1), torch.rand(1, 1, 3), sigma=0.0)


def test_it_repeats_and_leaves_nothing_behind(network, images):
    model = network()
    before = model(images(4)), torch.get_rng_state()
    first = flips(model, images(4), seed=3)
    assert flips(model, images(4), seed=3) == first
    assert flips(model, images(4), seed=4) != first
    assert torch.equal(model(images(4)), before[0])
    assert torch.equal(torch.get_rng_state(), before[1])
