"""LSG: the widths learn with the weights, without decay, and stay in their range; the spikes are those of LIF."""

import math

import pytest
import torch
from torch import nn

from snnguard.data import fake
from snnguard.defenses import Batch, Defense, Stack, Step
from snnguard.defenses.lsg import LSG
from snnguard.errors import DefenseConflict
from snnguard.networks import Network, SpikingClassifier, construct
from snnguard.neurons import mechanisms_of
from snnguard.neurons.learned import Window
from snnguard.training import SGD, Training, fit

STEP = Step(progress=0.5, seed=1, membranes={})


def lively(model: SpikingClassifier) -> SpikingClassifier:
    """With larger weights behind the convolutions: fresh from the start, a network this small is silent."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.weight.mul_(6)
    return model


def network(defense: Defense) -> SpikingClassifier:
    described = defense.design(Network(name="vgg4-tiny", steps=2, tdbn_alpha=3.0))
    return lively(construct(described, classes=3, image_shape=(1, 8, 8), mean=[0.0], std=[1.0]))


def images() -> Batch:
    x = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return Batch(x=x, y=torch.arange(8) % 3, clean=x)


def test_one_width_per_layer_and_nothing_random() -> None:
    defense = LSG(start=0.5)
    model = network(defense)
    assert [round(float(w.gamma.detach()), 6) for w in mechanisms_of(model, Window)] == [0.5] * 3
    assert all(w.g.shape == () for w in mechanisms_of(model, Window))
    assert not model.stochastic
    assert defense.adaptive() == ()


def test_the_spikes_are_those_of_the_undefended_network() -> None:
    plain, learned = network(Stack()), network(LSG())
    for training in (True, False):
        logits = plain.train(training)(images().x)
        assert torch.equal(logits, learned.train(training)(images().x))
        assert logits.std() > 0


def test_only_the_widths_are_spared_the_weight_decay() -> None:
    model = network(LSG(learning_rate_scale=0.1))
    (group,) = LSG(learning_rate_scale=0.1).groups(model)
    assert {id(p) for p in group.parameters} == {id(p) for name, p in model.named_parameters() if name.endswith(".g")}
    assert (group.weight_decay, group.learning_rate_scale) == (0.0, 0.1)


def test_the_widths_are_put_back_after_a_step() -> None:
    defense = LSG(low=0.2, high=2.0)
    model = network(defense)
    windows = mechanisms_of(model, Window)
    for window, g in zip(windows, (-9.0, 9.0, 0.1), strict=True):
        window.g.data.fill_(g)
    defense.constrain(model, STEP)
    widths = [float(window.gamma.detach()) for window in windows]
    assert widths == pytest.approx([0.2, 2.0, math.log1p(math.exp(0.1))], rel=1e-6)
    defense.constrain(nn.Identity(), STEP)  # a network without windows is left alone


def test_training_moves_every_width() -> None:
    data = fake(classes=3, image_shape=(1, 8, 8), train=24, validation=8, test=8)
    defense = LSG()
    model = network(defense)
    training = Training(epochs=1, batch_size=8, optimiser=SGD(learning_rate=0.05), device="cpu", probe_size=8)
    fit(model, data.train, data.validation, defense=defense, training=training)
    widths = [float(window.gamma.detach()) for window in mechanisms_of(model, Window)]
    assert len(set(widths)) == 3
    assert all(0.1 <= width <= 4 and width != 1 for width in widths)


def test_it_is_the_firing_of_the_neuron_and_shares_it_with_nobody() -> None:
    with pytest.raises(DefenseConflict, match="lsg and ndl both set the network's neuron's firing"):
        Stack((LSG(), Defense.parse("ndl")))
    both = Stack((LSG(), Defense.parse("stog"))).design(Network(name="vgg4-tiny"))
    assert {trait.slot for trait in both.neuron.traits} == {"firing", "spikes"}


def test_a_range_that_the_start_is_not_in_is_refused() -> None:
    with pytest.raises(ValueError, match="does not lie within"):
        LSG(start=5.0).design(Network(name="vgg4-tiny"))
