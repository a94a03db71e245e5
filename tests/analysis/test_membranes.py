"""Membrane records against numbers computed from the watched potentials themselves."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from snnguard.analysis import histogram, membranes, summary
from snnguard.encoders import Poisson
from snnguard.layers import watching
from snnguard.networks import build
from snnguard.neurons import LIF, Rectangular, Watch, neurons_of, nlif
from snnguard.record import LOGGED_EDGES


def net(**settings: object) -> nn.Module:
    model = build("vgg4-tiny", classes=3, image_shape=(1, 8, 8), steps=3, seed=1, **settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.data.uniform_(0.5, 3)
                module.bias.data.normal_(-1, 2)
    return model


def images(n: int = 10) -> Tensor:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def watched(model: nn.Module, x: Tensor) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    model.eval()
    with torch.no_grad(), watching(model, Watch(potential=True)) as seen:
        model(x)
    return {name: (m[0].potential.double().numpy(), m[0].spikes.numpy()) for name, m in seen.items()}


@pytest.mark.parametrize("batch_size", [3, 128])
@pytest.mark.parametrize("settings", [{}, {"neuron": LIF(threshold=0.6, decay=0.8, surrogate=Rectangular(width=0.8))}])
def test_every_number_equals_an_independent_computation(settings: dict[str, object], batch_size: int) -> None:
    model = net(**settings)
    expected = watched(model, images())
    layers = membranes(model, images(), batch_size=batch_size, band=0.3, bins=20, reach=2.0)
    assert [layer.layer for layer in layers] == list(expected) == list(neurons_of(model))
    for layer in layers:
        ubar, spikes = expected[layer.layer]
        window = 1.0 if not settings else 0.4
        assert layer.window == pytest.approx(window)
        assert layer.mean == pytest.approx(ubar.mean(), abs=1e-5)
        assert layer.std == pytest.approx(ubar.std(), rel=1e-4)
        assert layer.overlap == pytest.approx((abs(ubar) < window).mean(), abs=1e-4)
        assert layer.proximal == pytest.approx((abs(ubar) < 0.3).mean(), abs=1e-4)
        assert layer.proximal_band == 0.3
        assert layer.rate == pytest.approx(spikes.mean(), abs=1e-4)
        assert layer.rate == pytest.approx((ubar >= 0).mean(), abs=1e-4)
        channels = np.moveaxis(spikes, 2, 0).reshape(spikes.shape[2], -1)
        assert layer.dead == pytest.approx((channels.max(1) == 0).mean())
        counts, edges = np.histogram(ubar.clip(-1.99999, 1.99999), bins=20, range=(-2, 2))
        assert layer.edges == pytest.approx(edges.tolist())
        assert sum(layer.counts) == ubar.size
        assert abs(np.array(layer.counts) - counts).sum() <= 1e-3 * ubar.size  # values on an edge may fall to either side
    assert any(0 < layer.dead < 1 for layer in layers)


def test_what_lies_beyond_the_reach_is_in_the_outer_bins() -> None:
    model = net()
    [first, *_] = membranes(model, images(), reach=0.25, bins=5)
    ubar, _ = watched(model, images())[first.layer]
    assert sum(first.counts) == ubar.size
    assert first.counts[0] == pytest.approx((ubar < -0.15).sum(), abs=3)
    assert first.counts[-1] == pytest.approx((ubar >= 0.15).sum(), abs=3)
    assert first.edges == pytest.approx((-0.25, -0.15, -0.05, 0.05, 0.15, 0.25))


def test_silent_and_saturated_layers() -> None:
    model = net()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for module, bias in zip(norms, (50.0, -50.0), strict=True):
        nn.init.zeros_(module.weight)
        nn.init.constant_(module.bias, bias)
    saturated, silent, _ = membranes(model, images())
    assert (saturated.rate, saturated.dead, saturated.overlap, saturated.std) == (1.0, 0.0, 0.0, 0.0)
    assert (silent.rate, silent.dead, silent.overlap) == (0.0, 1.0, 0.0)
    assert silent.std > 0  # it sinks from step to step: there is no reset without a spike


def test_flags_statistics_gradients_and_generators_are_left_alone() -> None:
    model = net(neuron=nlif(sigma=0.2)).train()
    model.body[0].eval()
    before = [m.training for m in model.modules()]
    state = {name: t.clone() for name, t in model.state_dict().items()}
    generators = torch.get_rng_state(), random.getstate()
    first = membranes(model, images())
    assert [m.training for m in model.modules()] == before
    assert all(torch.equal(t, state[name]) for name, t in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert random.getstate() == generators[1]
    assert all(not neuron.watch and not neuron.seen for neuron in neurons_of(model).values())
    assert membranes(model, images()) == first


def test_flags_come_back_after_an_error() -> None:
    model = net().train()
    with pytest.raises(ValueError, match="was built for images"):
        membranes(model, torch.rand(2, 1, 4, 4))
    assert all(m.training for m in model.modules())
    assert all(not neuron.watch for neuron in neurons_of(model).values())


def test_a_random_encoder_can_be_looked_at_too() -> None:
    layers = membranes(net(encoder=Poisson()), images())
    assert len(layers) == 3
    assert all(0 <= layer.overlap <= 1 for layer in layers)


def test_the_summary_is_the_mean_over_layers() -> None:
    layers = membranes(net(), images())
    found = summary(layers)
    assert set(found) == {"mean", "std", "overlap", "proximal", "rate", "dead"}
    for name, value in found.items():
        assert value == pytest.approx(np.mean([getattr(layer, name) for layer in layers]))
    assert summary([]) == dict.fromkeys(found, 0.0)
    assert membranes(nn.Flatten(), images()) == []


def test_the_logged_histogram_is_that_of_the_potentials() -> None:
    model = net()
    expected = watched(model, images())
    for layer in membranes(model, images()):
        counts, _ = np.histogram(expected[layer.layer][0].clip(-3.99, 3.99), bins=np.array(LOGGED_EDGES))
        assert abs(np.array(histogram(layer)) - 1000 * counts / counts.sum()).max() <= 0.6  # rounded, and ties at the edges
    assert len(LOGGED_EDGES) == 41
    assert (LOGGED_EDGES[0], LOGGED_EDGES[-1]) == (-4, 4)


def test_what_lies_beyond_the_logged_bins_is_in_the_outer_ones() -> None:
    wide = replace(membranes(net(), images())[0], edges=(-9.0, -7.0, -0.1, 0.1, 9.0), counts=(3, 0, 5, 2))
    assert histogram(wide) == [300, *[0] * 19, 500, *[0] * 18, 200]
    assert histogram(replace(wide, counts=(0, 0, 0, 0))) == [0] * 40
