"""Soft reset: what stays after a spike."""

import torch

from snnguard.defenses.soft_reset import SoftReset
from snnguard.networks import Network
from snnguard.neurons import LIF, MembraneNoise, lif


def test_it_changes_the_reset_and_nothing_else() -> None:
    plain = LIF(decay=0.7, threshold=1.5, traits=(MembraneNoise(sigma=0.1),))
    network = Network(name="vgg4-tiny", steps=3, neuron=plain)
    ours = SoftReset().design(network)
    assert ours.neuron == LIF(decay=0.7, threshold=1.5, reset="subtract", traits=(MembraneNoise(sigma=0.1),))
    assert ours.model_copy(update={"neuron": plain}) == network
    assert network.neuron.reset == "zero"
    assert SoftReset().design(ours) == ours


def test_what_exceeds_the_threshold_counts_in_the_next_step() -> None:
    # 2.5 leaves 1.5, which fires and leaves 0.5, which does not; a hard reset would fire once.
    current = torch.tensor([2.5, 0.0, 0.0, 0.5])[:, None, None]
    neuron = SoftReset().design(Network(name="vgg4-tiny")).neuron.build(steps=4)
    assert neuron(current).flatten().tolist() == [1, 1, 0, 1]
    assert lif(current).flatten().tolist() == [1, 0, 0, 0]


def test_no_charge_is_lost() -> None:
    # Without a leak the spikes, times the threshold, are what came in less what is left, which is below the threshold.
    current = torch.rand(50, 1, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.7
    network = Network(name="vgg4-tiny", neuron=LIF(threshold=0.75))
    count = SoftReset().design(network).neuron.build(steps=50)(current).sum(0)
    left = current.sum(0) - 0.75 * count
    assert ((left >= -1e-9) & (left < 0.75)).all()
    hard = lif(current, threshold=0.75).sum(0)
    assert (hard < count).all()
