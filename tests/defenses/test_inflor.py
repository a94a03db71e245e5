"""InfLoR as a defense: what it designs, and that its halves are what they say."""

import torch

from snnguard.defenses import TGO, Stack
from snnguard.defenses.inflor import InfLoR
from snnguard.defenses.soft_reset import SoftReset
from snnguard.networks import Network, construct
from snnguard.neurons import LIF, MembraneNoise, Sigmoid, lif
from snnguard.neurons.rectifier import MembraneRectifier


def test_it_resets_softly_and_rectifies_and_keeps_the_rest() -> None:
    plain = LIF(decay=0.7, threshold=1.5, detach_reset=True, surrogate=Sigmoid(alpha=3.0))
    neuron = InfLoR().design(Network(name="vgg4-tiny", neuron=plain)).neuron
    assert neuron.reset == "subtract"
    assert neuron.traits == (MembraneRectifier(),)
    for name in LIF.model_fields.keys() - {"traits", "reset"}:
        assert getattr(neuron, name) == getattr(plain, name)


def test_its_halves_and_neither() -> None:
    network = Network(name="vgg4-tiny")
    assert InfLoR(rectify=False).design(network) == SoftReset().design(network)
    assert InfLoR(soft_reset=False).design(network) == network.having(MembraneRectifier())
    nothing = InfLoR(rectify=False, soft_reset=False)
    assert nothing.design(network) == network
    assert not nothing.watch
    assert nothing.adaptive() == ()


def test_what_stays_after_a_spike_by_hand() -> None:
    # 1.728 becomes 1.2, fires, and leaves 0.2; with 0.8 more it is 1 and fires again. A hard reset leaves nothing.
    current = torch.tensor([1.728, 0.8001])[:, None, None]
    neuron = InfLoR().design(Network(name="vgg4-tiny")).neuron.build(steps=2)
    assert neuron(current).flatten().tolist() == [1, 1]
    assert neuron(current - torch.tensor([0.0, 0.001])[:, None, None]).flatten().tolist() == [1, 0]
    assert lif(current).flatten().tolist() == [1, 0]


def test_it_combines_with_noise_and_bears_any_input() -> None:
    design = Stack(parts=(TGO(sigma=0.1), InfLoR())).design(Network(name="vgg4-tiny", steps=2))
    assert {type(trait) for trait in design.neuron.traits} == {MembraneRectifier, MembraneNoise}
    model = construct(design, classes=3, image_shape=(1, 8, 8), mean=[0.0], std=[1.0])
    for value in (0.0, 1.0, 1e6):
        x = torch.full((4, 1, 8, 8), value, requires_grad=True)
        (gradient,) = torch.autograd.grad(model(x).square().sum(), x)
        assert torch.isfinite(gradient).all()
