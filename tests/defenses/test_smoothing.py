"""Gaussian noise on every image, as a defense."""

import pytest
import torch

from snnguard.defenses import Defense, Stack
from snnguard.errors import RequestError
from snnguard.evaluation import smoothing_sigma
from snnguard.networks import Network, SpikingClassifier, construct


def network(*kinds: object, steps: int = 4) -> SpikingClassifier:
    described = Stack(parts=tuple(map(Defense.parse, kinds))).design(Network(name="vgg4-tiny", steps=steps))
    return construct(described, classes=3, image_shape=(1, 8, 8), mean=[0.0], std=[1.0])


def seen(model: SpikingClassifier, x: torch.Tensor) -> torch.Tensor:
    """What the first layer gets, [T or 1, N, C, H, W]."""
    frames = []
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        hook = model.body.register_forward_pre_hook(lambda module, given: frames.append(given[0]))
        model(x)
        hook.remove()
    return frames[0]


@pytest.mark.parametrize("training", [True, False])
def test_the_noise_has_the_stated_size_in_training_and_after_it(training: bool) -> None:
    model = network({"kind": "smoothing", "sigma": 0.5}).train(training)
    frames = seen(model, torch.full((64, 1, 8, 8), 0.9))
    assert len(frames) == 1  # the same noise in every step
    noise = frames[0] - 0.9
    error = 0.5 / 64  # one standard error of the mean of 4096 pixels
    assert abs(float(noise.mean())) < 4 * error
    assert abs(float(noise.std()) - 0.5) < 4 * error
    assert noise.max() > 0.5  # not clamped to the range
    assert len(noise.flatten(1).unique(dim=0)) == 64  # each image its own


def test_each_call_draws_anew() -> None:
    model, x = network("smoothing").eval(), torch.rand(2, 1, 8, 8)
    assert model.stochastic
    one = model.body.register_forward_pre_hook(lambda module, given: frames.append(given[0].clone()))
    frames: list[torch.Tensor] = []
    for _ in range(2):
        model(x)
    one.remove()
    assert not torch.equal(frames[0], frames[1])


def test_without_strength_it_is_nothing() -> None:
    nothing, plain = Defense.parse({"kind": "smoothing", "sigma": 0}), Network(name="vgg4-tiny")
    assert nothing.design(plain) == plain
    assert nothing.adaptive() == ()
    model = network({"kind": "smoothing", "sigma": 0})
    assert not model.stochastic
    assert smoothing_sigma(model) == 0


def test_it_demands_an_attack_on_the_expectation() -> None:
    [attack] = Defense.parse("smoothing").adaptive()
    assert attack.gradient.draws > 1


def test_it_stacks_with_random_encoders() -> None:
    # Poisson draws no Gaussian noise. RSC's of 0.5 in four steps averages to 0.25; with 0.6 before it, variances add.
    six = {"kind": "smoothing", "sigma": 0.6}
    assert smoothing_sigma(network(six, "poisson")) == pytest.approx(0.6)
    assert smoothing_sigma(network("poisson")) == 0
    assert smoothing_sigma(network({"kind": "rsc", "sigma": 0.5})) == pytest.approx(0.25)
    assert smoothing_sigma(network(six, {"kind": "rsc", "sigma": 0.5})) == pytest.approx(0.65)  # 5, 12, 13


def test_the_noise_of_both_together_averages_to_the_stated_sigma() -> None:
    model = network({"kind": "smoothing", "sigma": 0.6}, {"kind": "rsc", "sigma": 0.5}).eval()
    frames = seen(model, torch.full((64, 1, 8, 8), 0.5))
    mean, rest = frames.mean(0) - 0.5, frames - frames.mean(0)
    assert float(mean.std()) == pytest.approx(0.65, rel=0.05)
    # What is left is independent of the mean, as the certificate needs: uncorrelated, and both are Gaussian.
    correlation = torch.corrcoef(torch.stack([mean.flatten(), rest[0].flatten()]))[0, 1]
    assert abs(float(correlation)) < 4 / 64


def test_it_keeps_what_else_is_described_and_refuses_a_negative_sigma() -> None:
    before = Network(name="vgg4-tiny", steps=3)
    after = Defense.parse("smoothing").design(before)
    assert after == before.model_copy(update={"input_noise": 0.25})
    with pytest.raises(RequestError, match="sigma"):
        Defense.parse({"kind": "smoothing", "sigma": -0.1})
