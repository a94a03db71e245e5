"""Theorem 1 where it is exact, and which normalisation feeds which neuron."""

import pytest
import torch

from snnguard.analysis import channel_moments, feeding
from snnguard.layers import TDBN, OverTime
from snnguard.neurons import LIF, Neuron, neurons_of

CHANNELS, STEPS = 3, 4


def whitened(n: int) -> torch.Tensor:
    """[n, T, C, 1, 1]: of every channel and step exactly zero mean and unit variance, and exactly uncorrelated steps."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(CHANNELS, n, STEPS, generator=generator, dtype=torch.float64)
    orthogonal, _ = torch.linalg.qr(x - x.mean(1, keepdim=True))
    return (orthogonal * n**0.5).permute(1, 2, 0)[..., None, None].float()


def normed(driven, neuron: LIF):
    norm = TDBN(CHANNELS, alpha=0.5, threshold=1.5)
    norm.eps = 0.0
    norm.weight.data.copy_(torch.tensor([1.0, -2.0, 0.5]))
    norm.bias.data.copy_(torch.tensor([0.3, 0.0, -1.0]))
    return driven(neuron, STEPS, OverTime(norm))


@pytest.mark.parametrize("decay", [1.0, 0.6, 0.0])
def test_without_spikes_the_theorem_is_exact(driven, decay):
    model = normed(driven, LIF(decay=decay, threshold=1000.0, reset="subtract"))
    [one] = channel_moments(model, whitened(400), batch_size=150)
    assert (one.layer, one.normalisation, one.departures) == ("neuron", "before.0", ())
    depth = [sum(decay ** (t - i) for i in range(t + 1)) for t in range(STEPS)]
    for t in range(STEPS):
        assert one.mean[t] == pytest.approx([0.3 * depth[t] - 1000, -1000, -1.0 * depth[t] - 1000], rel=1e-6)
        assert one.predicted_mean[t] == pytest.approx(one.mean[t], rel=1e-6)
        spread = 0.75 * sum(decay ** (2 * (t - i)) for i in range(t + 1)) ** 0.5
        # Half a step of float32 at 1000 is 3e-5.
        assert one.std[t] == pytest.approx([spread, 2 * spread, spread / 2], abs=1e-4)
        assert one.predicted_std[t] == pytest.approx([spread, 2 * spread, spread / 2])


@pytest.mark.parametrize("decay", [1.0, 0.6])
def test_with_spikes_and_a_reset_that_subtracts_the_means_are_exact(driven, decay):
    """S(t) accounts for every spike, so the exponents of S are those of this file and not one higher."""
    model = normed(driven, LIF(decay=decay, threshold=0.5, reset="subtract"))
    [one] = channel_moments(model, whitened(400))
    for measured, predicted in zip(one.mean, one.predicted_mean, strict=True):
        assert measured == pytest.approx(predicted, abs=1e-4)


def test_a_current_that_repeats_spreads_faster(driven):
    model = normed(driven, LIF(threshold=1000.0, decay=0.9))
    [one] = channel_moments(model, whitened(400)[:, :1])
    assert one.departures == ("reset to zero", "the same current in every step")
    for measured, repeated, independent in zip(one.std, one.repeated_std, one.predicted_std, strict=True):
        assert measured == pytest.approx(repeated, abs=1e-4)
        assert all(a >= b for a, b in zip(repeated, independent, strict=True))
    assert one.repeated_std[3][1] == pytest.approx(1.5 * (1 + 0.9 + 0.81 + 0.729))


def test_every_neuron_of_the_networks_behind_a_normalisation_is_found(network):
    tiny = network()
    assert feeding(tiny, torch.rand(1, 1, 8, 8)) == {"body.1": "body.0.1", "body.3": "body.2.1"}
    wide = network("wrn16", image_shape=(3, 8, 8), steps=2)
    found = feeding(wide, torch.rand(1, 3, 8, 8))
    assert set(found) == set(neurons_of(wide))
    assert found["body.1.neuron1"] == "body.1.norm1.0"
    assert found["body.1.neuron2"] == "body.1.norm2.0"
    deep = network("resnet19", image_shape=(3, 8, 8), steps=1)
    found = feeding(deep, torch.rand(1, 3, 8, 8))
    assert found["body.1"] == "body.0.1"
    assert found["body.2.neuron1"] == "body.2.first.1"
    assert not any(name.endswith("neuron2") for name in found)  # they are fed by a sum
    assert sum(name.endswith("neuron1") for name in found) == 8
    assert all(not module._forward_pre_hooks for module in deep.modules() if isinstance(module, Neuron))
