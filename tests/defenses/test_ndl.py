"""NDL: no noise is no defense; noise that stays on demands attacks on the expectation."""

import pytest
import torch
from torch import nn

from snnguard import rng
from snnguard.attacks import PGD
from snnguard.defenses import Defense, Stack, tgo_nlif
from snnguard.defenses.ndl import NDL
from snnguard.networks import Network, SpikingClassifier, construct
from snnguard.neurons.sampled import SampledFiring


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


def images() -> torch.Tensor:
    return torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_no_noise_is_no_defense() -> None:
    before = Network(name="vgg4-tiny")
    assert NDL(sigma=0).design(before) == before
    assert NDL(sigma=0).adaptive() == ()
    assert not NDL(sigma=0).watch


@pytest.mark.parametrize(("sigma", "inference"), [(0.2, True), (0.2, False), (0.0, True), (0.0, False)])
def test_attacks_with_draws_are_required_exactly_where_noise_stays_on(sigma: float, inference: bool) -> None:
    defense = NDL(sigma=sigma, inference=inference)
    stays = sigma > 0 and inference
    model = network(defense).eval()
    assert model.stochastic == stays
    assert torch.equal(model(images()), model(images())) != stays
    assert len(defense.adaptive()) == int(stays)
    for attack in defense.adaptive():
        assert isinstance(attack, PGD)
        assert attack.gradient.draws > 1
        assert not attack.early_stop


def test_the_settings_reach_the_neuron() -> None:
    traits = NDL(sigma=0.3, noise="logistic", inference=False).design(Network(name="vgg4-tiny")).neuron.traits
    assert traits == (SampledFiring(sigma=0.3, noise="logistic", inference=False),)


def test_without_noise_at_inference_the_finished_network_is_an_ordinary_one() -> None:
    model, plain = network(NDL(inference=False)), network(Stack())
    assert torch.equal(model.eval()(images()), plain.eval()(images()))
    assert plain(images()).std() > 0
    assert model.state_dict().keys() == plain.state_dict().keys()
    with rng.scope(0):
        assert not torch.equal(model.train()(images()), plain.train()(images()))


def test_it_combines_with_noise_in_the_membrane() -> None:
    both = Stack((NDL(), tgo_nlif())).design(Network(name="vgg4-tiny"))
    assert {trait.slot for trait in both.neuron.traits} == {"firing", "noise"}
