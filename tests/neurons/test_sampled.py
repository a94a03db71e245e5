"""The sampled neuron: how often it fires, against the distribution functions and the noisy membrane; its gradient."""

import math
from statistics import NormalDist

import pytest
import torch
from torch import Tensor

from snnguard import rng
from snnguard.neurons import BPTT, LIF, MembraneNoise, Neuron, RateGradient, Sigmoid, Trait, use_rule
from snnguard.neurons.sampled import SampledFiring

PHI = NormalDist().cdf
N = 100_000


def logistic(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def neuron(trait: Trait, *, steps: int = 1, training: bool = True) -> Neuron:
    return LIF(traits=(trait,)).build(steps=steps).train(training)


def share(module: Neuron, v: float) -> float:
    with rng.scope(3):
        return module(torch.full((1, 1, N), v)).mean().item()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("noise", "law"), [("gaussian", PHI), ("logistic", logistic)])
def test_it_fires_as_often_as_its_law_says(noise: str, law: object, training: bool) -> None:
    module = neuron(SampledFiring(sigma=0.25, noise=noise), training=training)
    for v in (0.5, 0.9, 1.0, 1.3):
        p = law((v - 1) / 0.25)
        assert abs(share(module, v) - p) < 4 * math.sqrt(p * (1 - p) / N)


@pytest.mark.parametrize("v", [0.6, 0.95, 1.0, 1.4])
def test_in_one_step_it_fires_like_the_noisy_membrane_and_differentiates_otherwise(v: float) -> None:
    sampled, noisy = neuron(SampledFiring(sigma=0.3)), neuron(MembraneNoise(sigma=0.3))
    p = PHI((v - 1) / 0.3)
    assert abs(share(sampled, v) - share(noisy, v)) < 4 * math.sqrt(2 * p * (1 - p) / N)
    gradients = []
    for module in (sampled, noisy):
        x = torch.full((1, 1, 1000), v, requires_grad=True)
        gradients.append(torch.autograd.grad(module(x).sum(), x)[0])
    # Of the probability, the same everywhere; the other one is of the surrogate, at a random membrane.
    assert len(gradients[0].unique()) == 1
    assert len(gradients[1].unique()) > 500


def test_the_gradient_is_the_density_of_the_noise() -> None:
    x = torch.linspace(-1, 3, 41, dtype=torch.float64)[None, None].requires_grad_()
    z = (x.detach() - 1) / 0.4
    for noise, density in (
        ("gaussian", torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)),
        ("logistic", torch.exp(-z) / (1 + torch.exp(-z)) ** 2),
    ):
        for training, inference in ((True, True), (True, False), (False, False)):
            module = neuron(SampledFiring(sigma=0.4, noise=noise, inference=inference), training=training)
            (gradient,) = torch.autograd.grad(module(x).sum(), x)
            torch.testing.assert_close(gradient, density / 0.4)


def test_the_mean_gradient_is_that_of_the_expectation() -> None:
    # Of the firing frequency, by common random numbers: the same draws a little to either side.
    module = neuron(SampledFiring(sigma=0.5))
    difference = (share(module, 1.25) - share(module, 1.15)) / 0.1
    x = torch.tensor([[[1.2]]], requires_grad=True)
    (gradient,) = torch.autograd.grad(module(x).sum(), x)
    assert float(gradient) == pytest.approx(difference, abs=0.03)


def test_inference_decides_whether_it_is_random_after_training() -> None:
    x = torch.randn(4, 3, 50, generator=torch.Generator().manual_seed(0)) + 0.4
    on, off = SampledFiring(inference=True), SampledFiring(inference=False)
    assert on.noisy
    assert not off.noisy
    plain = LIF().build(steps=4)(x)
    assert torch.equal(neuron(off, steps=4, training=False)(x), plain)
    for trait, training in ((off, True), (on, True), (on, False)):
        module = neuron(trait, steps=4, training=training)
        assert set(module(x).unique().tolist()) == {0.0, 1.0}
        assert not torch.equal(module(x), module(x))


def test_the_spikes_reset_and_the_draws_are_fresh_in_every_step() -> None:
    # Threshold far away on the scale of sigma, half a threshold per step: it fires with certainty at steps 2 and 4.
    module = neuron(SampledFiring(sigma=0.01), steps=4)
    assert module(torch.full((4, 1, 1), 0.6)).flatten().tolist() == [0, 1, 0, 1]
    # At the threshold in each step: after a spike the membrane is 0 again, after none it is 2 and fires for certain.
    train: Tensor = neuron(SampledFiring(sigma=0.05), steps=2)(torch.ones(2, 1, 20_000))[:, 0]
    second = train[1]
    assert second[train[0] == 0].mean() == 1
    assert abs(second[train[0] == 1].mean().item() - 0.5) < 0.02


@pytest.mark.parametrize("rule", [RateGradient(), BPTT(surrogate=Sigmoid())], ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_rules_do_not_move_the_forward(rule: object, training: bool) -> None:
    x = torch.randn(4, 3, 50, generator=torch.Generator().manual_seed(0)) + 0.4
    module = neuron(SampledFiring(), steps=4, training=training)
    found = []
    for given in (None, rule):
        y = x.clone().requires_grad_()
        with rng.scope(0), use_rule(module, given):
            spikes = module(y)
        found.append((spikes.detach(), torch.autograd.grad(spikes.square().sum(), y)[0]))
    assert torch.equal(found[0][0], found[1][0])
    assert not torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize("noise", ["gaussian", "logistic"])
@pytest.mark.parametrize("value", [-1e6, 0.0, 1.0, 1e6])
def test_it_is_finite_for_silent_and_saturated_layers(noise: str, value: float) -> None:
    x = torch.full((3, 2, 5), value, requires_grad=True)
    spikes = neuron(SampledFiring(noise=noise), steps=3)(x)
    (gradient,) = torch.autograd.grad(spikes.sum(), x)
    assert torch.isfinite(gradient).all()
    if abs(value) > 2:
        assert spikes.unique().tolist() == [float(value > 0)]
