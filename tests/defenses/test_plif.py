"""PLIF as a defense: its design, its parameters' own group, and that training moves the leaks."""

import pytest
import torch
from torch import nn

from snnguard.data import fake
from snnguard.defenses import Stack
from snnguard.defenses.feel import FEEL
from snnguard.defenses.plif import PLIF
from snnguard.errors import DefenseConflict
from snnguard.networks import Network, construct
from snnguard.neurons import LIF, mechanisms_of
from snnguard.neurons.leak import LayerLeak
from snnguard.training import SGD, Training, fit

NETWORK = Network(name="vgg4-tiny", steps=2)


def made(defense: PLIF | Stack, network: Network = NETWORK) -> nn.Module:
    return construct(defense.design(network), classes=3, image_shape=(1, 8, 8), mean=[0.0], std=[1.0])


def test_at_its_start_the_network_is_that_of_a_fixed_decay() -> None:
    x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 3
    halved = made(Stack(), NETWORK.model_copy(update={"neuron": LIF(decay=0.5)}))
    assert torch.equal(made(PLIF()).eval()(x), halved.eval()(x))


def test_every_layer_has_one_leak_without_weight_decay() -> None:
    model = made(PLIF(start=0.8))
    leaks = mechanisms_of(model, LayerLeak)
    assert len(leaks) == 3
    assert [torch.sigmoid(leak.w).item() for leak in leaks] == pytest.approx([0.8] * 3)
    (group,) = PLIF().groups(model)
    assert [id(p) for p in group.parameters] == [id(leak.w) for leak in leaks]
    assert group.weight_decay == 0
    assert group.learning_rate_scale == 1


def test_training_moves_the_leaks_and_weight_decay_alone_does_not() -> None:
    data = fake(classes=3, image_shape=(1, 8, 8), train=16, validation=8, test=8)
    model = made(PLIF(start=0.9))
    before = [leak.w.item() for leak in mechanisms_of(model, LayerLeak)]
    training = Training(epochs=1, batch_size=8, optimiser=SGD(learning_rate=0.1), device="cpu", probe_size=8)
    fit(model, data.train, data.validation, defense=PLIF(start=0.9), training=training)
    moved = [leak.w.item() - w for leak, w in zip(mechanisms_of(model, LayerLeak), before, strict=True)]
    assert any(abs(m) > 1e-6 for m in moved)
    optimiser = SGD(learning_rate=0.1, weight_decay=0.5).over(model, PLIF().groups(model))
    leaks = [leak.w for leak in mechanisms_of(model, LayerLeak)]
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    held, conv = [w.item() for w in leaks], next(model.parameters())
    norm = conv.norm().item()
    optimiser.step()
    assert [w.item() for w in leaks] == held
    assert conv.norm().item() < norm


def test_two_leaks_contradict() -> None:
    with pytest.raises(DefenseConflict, match="leak"):
        Stack(parts=(PLIF(), FEEL()))
    Stack(parts=(PLIF(), FEEL(leak=False)))
