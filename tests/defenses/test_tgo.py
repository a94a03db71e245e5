"""TGO: the hinge and its gradient through the neuron, the sum over layers, the noise that is designed in."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnguard.attacks import PGD
from snnguard.defenses import TGO, Batch, Defense, Step, tgo_mc, tgo_nlif
from snnguard.layers import watching
from snnguard.networks import Network, build
from snnguard.neurons import LIF, Membrane, MembraneNoise, Sigmoid, neurons_of, nlif


def penalty(defense: Defense, membranes: dict[str, Membrane], progress: float = 1.0) -> Tensor | None:
    x = torch.zeros(1, 1)
    step = Step(progress=progress, seed=0, membranes=membranes)
    return defense.penalty(nn.Identity(), Batch(x=x, y=torch.tensor([0]), clean=x), x, step)


def through(current: Tensor, defense: Defense, **settings: Any) -> Tensor:
    """The penalty of one layer, from its current [T, N, F]."""
    layer = nn.Sequential(LIF(**settings).build(steps=len(current)))
    with watching(layer, defense.watch) as seen:
        layer(current)
    return penalty(defense, {name: passes[0] for name, passes in seen.items()})


def test_nothing_outside_the_band() -> None:
    current = torch.tensor([[[0.5, 1.5, -3.0, 9.0, 1.51, 0.49]]], dtype=torch.float64, requires_grad=True)
    term = through(current, tgo_mc(lambda_max=1.0, delta=0.5))
    assert float(term.detach()) == 0
    assert torch.autograd.grad(term, current)[0].abs().sum() == 0


def test_value_and_gradient_inside_the_band_through_the_neuron() -> None:
    # u = I in a single step; threshold 1, band 0.5; four neurons of two images, one of them outside.
    current = torch.tensor([[[0.8, 1.1], [1.4, 2.0]]], dtype=torch.float64, requires_grad=True)
    term = through(current, tgo_mc(lambda_max=1.0, delta=0.5))
    assert float(term.detach()) == pytest.approx((0.3 + 0.4 + 0.1 + 0.0) / 4)
    (gradient,) = torch.autograd.grad(term, current)
    # dC/du = -sign(u - threshold) / n
    torch.testing.assert_close(gradient, torch.tensor([[[0.25, -0.25], [-0.25, 0.0]]], dtype=torch.float64))


def test_two_steps_by_hand() -> None:
    # Leak 1/2: u1 = 0.8, no spike, u2 = 0.4 + 0.7 = 1.1. Hinges 0.3 and 0.4, mean 0.35.
    # dC/du2 = -1/2; dC/du1 = +1/2 and, through u2 = u1/2 + I2, with the reset detached, -1/4.
    current = torch.tensor([[[0.8]], [[0.7]]], dtype=torch.float64, requires_grad=True)
    term = through(current, tgo_mc(lambda_max=1.0, delta=0.5), decay=0.5, detach_reset=True)
    assert float(term.detach()) == pytest.approx(0.35)
    (gradient,) = torch.autograd.grad(term, current)
    assert gradient.flatten().tolist() == pytest.approx([0.25, -0.5])


def test_mean_within_a_layer_and_sum_over_layers() -> None:
    current = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    defense = tgo_mc(lambda_max=1.0, delta=0.5)
    one = float(through(current, defense))
    # As many images again, or as many neurons again, change nothing; as many layers again double it.
    assert float(through(current.repeat(1, 2, 1), defense)) == pytest.approx(one)
    assert float(through(current.repeat(1, 1, 2), defense)) == pytest.approx(one)
    band = Membrane(hinge=torch.tensor([one]), bands=(0.5,))
    assert float(penalty(defense, {"a": band, "b": band, "c": band})) == pytest.approx(3 * one)


def test_the_term_of_a_network_is_the_sum_of_its_layers_own_hinges() -> None:
    model = build("vgg4-tiny", classes=3, image_shape=(1, 8, 8), steps=2).train()
    defense, currents = tgo_mc(lambda_max=0.6, delta=0.4), {}
    for neuron in neurons_of(model).values():
        neuron.register_forward_pre_hook(lambda m, a: currents.__setitem__(m, a[0]))
    with watching(model, defense.watch) as seen:
        model(torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    total = 0.0
    for neuron in neurons_of(model).values():
        current = currents[neuron].detach().double().expand(2, *currents[neuron].shape[1:])
        first = current[0]
        second = torch.where(first >= 1, torch.zeros_like(first), first) + current[1]
        distance = (torch.stack([first, second]) - 1).abs()
        total += float((0.4 - distance).clamp_min(0).mean())
    term = penalty(defense, {name: passes[0] for name, passes in seen.items()}, progress=0.5)
    assert float(term.detach()) == pytest.approx(0.3 * total, rel=1e-5)


def test_lambda_at_its_marks() -> None:
    band = {"a": Membrane(hinge=torch.tensor([1.0]), bands=(0.5,))}
    assert penalty(TGO(lambda_max=0.6), band, 0.0) is None
    assert float(penalty(TGO(lambda_max=0.6), band, 0.5)) == pytest.approx(0.3)
    assert float(penalty(TGO(lambda_max=0.6), band, 1.0)) == pytest.approx(0.6)
    assert penalty(TGO(lambda_max=0), band, 1.0) is None


def test_the_two_halves_alone() -> None:
    network = Network(name="vgg4-tiny")
    mc, noise = tgo_mc(lambda_max=0.4, delta=0.25), tgo_nlif(sigma=0.3)
    assert mc.watch.bands == (0.25,)
    assert mc.design(network) == network
    assert not noise.watch
    assert noise.design(network).neuron == nlif(sigma=0.3)
    assert isinstance(Defense.parse("tgo-mc"), TGO)
    assert Defense.parse({"kind": "tgo-nlif", "sigma": 0.1}) == TGO(lambda_max=0, sigma=0.1)


def test_the_noisy_neuron_keeps_what_the_plain_one_was() -> None:
    plain = LIF(decay=0.7, threshold=1.5, reset="subtract", detach_reset=True, surrogate=Sigmoid(alpha=3.0))
    noisy = TGO(sigma=0.4, inference_noise=True).design(Network(name="vgg4-tiny", neuron=plain)).neuron
    assert noisy.noisy
    for name in LIF.model_fields.keys() - {"traits"}:
        assert getattr(noisy, name) == getattr(plain, name)
    assert noisy.traits == (MembraneNoise(sigma=0.4, inference=True),)
    again = TGO(sigma=0.1).design(Network(name="vgg4-tiny", neuron=noisy)).neuron
    assert again.traits == (MembraneNoise(sigma=0.1),)


def test_the_noise_makes_it_fire_as_often_as_the_normal_distribution_says() -> None:
    neuron = TGO(sigma=0.2).design(Network(name="vgg4-tiny")).neuron.build(steps=1).train()
    n = 100_000
    for v in (0.6, 0.9, 1.0, 1.2):
        share = neuron(torch.full((1, 1, n), v)).mean().item()
        expected = 0.5 * (1 + math.erf((v - 1) / 0.2 / math.sqrt(2)))
        assert abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / n)
    assert neuron.eval()(torch.full((1, 1, 3), 0.9)).sum() == 0


def test_the_constraint_does_not_see_the_noise_of_the_step() -> None:
    current = torch.tensor([[[0.8, 1.1, 1.4, 2.0]]])
    layer = nn.Sequential(nlif(sigma=0.5).build(steps=1)).train()
    defense = TGO(lambda_max=1.0, delta=0.5, sigma=0.5)
    with watching(layer, defense.watch) as seen:
        layer(current)
    assert float(penalty(defense, {"0": seen["0"][0]})) == pytest.approx(0.2, abs=1e-6)


@pytest.mark.parametrize(("sigma", "inference_noise"), [(0.2, True), (0.2, False), (0.0, True), (0.0, False)])
def test_attacks_with_draws_are_required_exactly_where_noise_stays_on(sigma: float, inference_noise: bool) -> None:
    defense = TGO(sigma=sigma, inference_noise=inference_noise)
    stays = sigma > 0 and inference_noise
    required = defense.adaptive()
    assert len(required) == int(stays)
    assert (
        build("vgg4-tiny", image_shape=(1, 8, 8), neuron=defense.design(Network(name="vgg4-tiny")).neuron).stochastic == stays
    )
    for attack in required:
        assert isinstance(attack, PGD)
        assert attack.gradient.draws > 1
        assert not attack.early_stop  # one lucky draw is no success
