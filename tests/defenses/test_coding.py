"""Randomised coding as a defense: what the body of the network is shown, and what an evaluation must include."""

import math

import pytest
import torch
from torch import Tensor

from snnguard import rng
from snnguard.attacks import PGD
from snnguard.defenses import REG, Defense, Stack
from snnguard.defenses.coding import EXPECTATION, PoissonDefense, RSCDefense
from snnguard.encoders import Poisson
from snnguard.encoders.randomised import RSC
from snnguard.errors import DefenseConflict
from snnguard.networks import Network, SpikingClassifier, construct

PLAIN = Network(name="vgg4-tiny", steps=4)
MEAN, STD = 0.5, 0.25


def designed(defense: Defense) -> SpikingClassifier:
    return construct(defense.design(PLAIN), classes=3, image_shape=(1, 8, 8), mean=[MEAN], std=[STD])


def shown(defense: Defense, x: Tensor, *, training: bool, seed: int = 0) -> Tensor:
    """What the body gets for images x, [T or 1, N, C, H, W]."""
    model, seen = designed(defense).train(training), []
    model.body.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with rng.scope(seed), torch.no_grad():
        model(x)
    return seen[0]


def ramp(n: int = 500) -> Tensor:
    return torch.linspace(0, 1, 64).reshape(1, 1, 8, 8).expand(n, 1, 8, 8)


def test_they_change_the_encoder_alone() -> None:
    for defense, encoder in ((RSCDefense(sigma=0.1), RSC(sigma=0.1)), (PoissonDefense(), Poisson())):
        assert defense.design(PLAIN) == PLAIN.model_copy(update={"encoder": encoder})
    assert isinstance(Defense.parse("rsc"), RSCDefense)
    assert isinstance(Defense.parse("poisson"), PoissonDefense)


@pytest.mark.parametrize("training", [True, False])
def test_rsc_shows_the_image_plus_noise_that_is_fresh_in_every_step(training: bool) -> None:
    x, sigma = ramp(), 0.25
    frames = shown(RSCDefense(sigma=sigma), x, training=training)
    assert frames.shape == (4, 500, 1, 8, 8)
    noise = (frames * STD + MEAN) - x  # the noise is in pixels, before the normalisation
    n = noise.numel()
    assert abs(float(noise.mean())) < 4 * sigma / math.sqrt(n)
    assert abs(float(noise.std()) / sigma - 1) < 4 / math.sqrt(2 * n)
    assert float((noise + x).min()) < 0  # not clamped
    assert float((noise + x).max()) > 1
    for step in range(3):
        products = noise[step] * noise[step + 1]
        assert abs(float(products.mean())) < 4 * sigma**2 / math.sqrt(products.numel())
    assert not torch.equal(shown(RSCDefense(sigma=sigma), x, training=training, seed=1), frames)


def test_rsc_without_noise_is_nothing() -> None:
    assert RSCDefense(sigma=0).design(PLAIN) == PLAIN
    assert RSCDefense(sigma=0).adaptive() == ()


@pytest.mark.parametrize("training", [True, False])
def test_poisson_shows_spikes_with_the_pixel_as_their_mean(training: bool) -> None:
    x = ramp(1000)
    spikes = shown(PoissonDefense(), x, training=training)
    assert spikes.shape == (4, 1000, 1, 8, 8)
    assert set(spikes.unique().tolist()) == {0.0, 1.0}  # so the normalisation is left out
    error = 4 * (x[0] * (1 - x[0]) / 4000).sqrt()
    assert ((spikes.mean((0, 1)) - x[0]).abs() <= error).all()
    half = spikes[:, :, 0, 3:5] - x[:, 0, 3:5]
    assert abs(float((half[1:] * half[:-1]).mean())) < 4 * 0.25 / math.sqrt(half[1:].numel())


def test_poisson_passes_the_gradient_of_every_step_on() -> None:
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    weights = torch.randn(4, 2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    frames = PoissonDefense().design(PLAIN).encoder.encode(x[None], steps=4, normalize=lambda y: y)
    (gradient,) = torch.autograd.grad((frames * weights).sum(), x)
    torch.testing.assert_close(gradient, weights.sum(0))


@pytest.mark.parametrize("defense", [RSCDefense(), PoissonDefense(), Stack((REG(), RSCDefense()))], ids=str)
def test_they_stay_random_and_demand_an_attack_on_the_expectation(defense: Defense) -> None:
    assert designed(defense).eval().stochastic
    assert EXPECTATION in defense.adaptive()
    assert isinstance(EXPECTATION, PGD)
    assert EXPECTATION.gradient.draws >= 10
    assert not EXPECTATION.early_stop  # one lucky draw is no success


def test_two_encodings_contradict() -> None:
    with pytest.raises(DefenseConflict, match=r"rsc and poisson both set the network's encoder"):
        Stack((RSCDefense(), PoissonDefense()))
