"""Membranes step by step against scipy on the watched potentials, and against distributions whose numbers are known."""

import numpy as np
import pytest
import torch
from scipy import stats

from snnguard.analysis import membranes, membranes_over_time
from snnguard.errors import RequestError
from snnguard.layers import watching
from snnguard.neurons import LIF, Rectangular, Watch


@pytest.mark.parametrize("batch_size", [3, 128])
def test_every_number_equals_an_independent_computation(network, images, batch_size):
    model = network(neuron=LIF(threshold=0.6, decay=0.8, surrogate=Rectangular(width=0.8)))
    with torch.no_grad(), watching(model, Watch(potential=True)) as seen:
        model(images(10))
    found = membranes_over_time(model, images(10), batch_size=batch_size, band=0.3, bins=40, reach=20.0)
    assert [(one.layer, one.step) for one in found] == [(layer, step) for layer in seen for step in (1, 2, 3)]
    for one in found:
        ubar = seen[one.layer][0].potential[one.step - 1].double().numpy().ravel()
        spikes = seen[one.layer][0].spikes[one.step - 1].numpy()
        assert one.mean == pytest.approx(ubar.mean(), abs=1e-6)
        assert one.std == pytest.approx(ubar.std(), rel=1e-6)
        assert one.skewness == pytest.approx(stats.skew(ubar), abs=1e-5)
        assert one.excess_kurtosis == pytest.approx(stats.kurtosis(ubar), abs=1e-5)
        normal = stats.norm(ubar.mean(), ubar.std())
        coarse = 3 / len(ubar) + 0.0157 * normal.pdf(normal.mean())  # a fine bin is 1/64 wide
        assert one.ks_distance == pytest.approx(stats.kstest(ubar, normal.cdf).statistic, abs=coarse)
        assert one.window == pytest.approx(0.4)
        assert one.overlap == pytest.approx((abs(ubar) < 0.4).mean())
        assert one.gaussian_overlap == pytest.approx(normal.cdf(0.4) - normal.cdf(-0.4))
        assert one.proximal == pytest.approx((abs(ubar) < 0.3).mean())
        assert one.rate == pytest.approx(spikes.mean())
        assert sum(one.counts) == ubar.size
        assert abs(np.array(one.counts) - np.histogram(ubar, 40, (-20, 20))[0]).sum() <= 2


def test_the_steps_together_are_the_layer(network, images):
    model = network()
    for layer in membranes(model, images(6)):
        steps = [one for one in membranes_over_time(model, images(6)) if one.layer == layer.layer]
        assert np.mean([one.mean for one in steps]) == pytest.approx(layer.mean, abs=1e-5)
        assert np.mean([one.proximal for one in steps]) == pytest.approx(layer.proximal)
        assert np.mean([one.overlap for one in steps]) == pytest.approx(layer.overlap)
        # Values on an edge may fall to either side.
        assert abs(np.sum([one.counts for one in steps], 0) - layer.counts).sum() <= 1e-3 * sum(layer.counts)


@pytest.mark.parametrize(
    ("law", "skewness", "kurtosis", "distance"),
    [
        (stats.norm(), 0, 0, 0),
        (stats.expon(), 2, 6, stats.norm.cdf(-1)),  # at 0, where the exponential distribution begins
        (stats.uniform(), 0, -1.2, 0.0572),
    ],
    ids=["normal", "exponential", "uniform"],
)
def test_distributions_whose_shape_is_known(driven, law, skewness, kurtosis, distance):
    current = law.ppf((np.arange(200_000) + 0.5) / 200_000)
    model = driven(LIF(threshold=2.0), steps=1)
    [one] = membranes_over_time(model, torch.tensor(current, dtype=torch.float32).reshape(1, 1, -1), reach=16.0, bins=400)
    assert one.mean == pytest.approx(law.mean() - 2, abs=1e-4)
    assert one.std == pytest.approx(law.std(), rel=1e-3)
    assert one.skewness == pytest.approx(skewness, abs=0.01)
    assert one.excess_kurtosis == pytest.approx(kurtosis, abs=0.05)
    assert one.ks_distance == pytest.approx(distance, abs=1e-3)


def test_potentials_that_do_not_vary_have_no_shape(driven):
    first, second = membranes_over_time(driven(LIF(decay=0.5), steps=2), torch.full((3, 1, 4), 0.4))
    assert (first.std, first.skewness, first.excess_kurtosis, first.ks_distance) == (0.0, None, None, None)
    assert first.mean == pytest.approx(-0.6)
    assert second.mean == pytest.approx(0.5 * 0.4 + 0.4 - 1)
    assert first.gaussian_overlap == first.overlap == 1.0


def test_without_an_image_there_is_nothing_to_look_at(network, images):
    with pytest.raises(RequestError, match="at least one image"):
        membranes_over_time(network(), images(0))


def test_without_a_neuron_there_is_nothing_to_look_at(linear):
    with pytest.raises(RequestError, match="no SNNGuard neuron"):
        membranes_over_time(linear(torch.ones(2, 3)), torch.rand(2, 3))
