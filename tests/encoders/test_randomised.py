"""RSC: the law of its noise, when it is drawn, and the smoothing that it stands for."""

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from snnguard import rng
from snnguard.encoders import Direct, Encoder
from snnguard.encoders.randomised import RSC
from snnguard.networks import build


def images() -> Tensor:
    return torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def identity(x: Tensor) -> Tensor:
    return x


def encoded(x: Tensor, *, steps: int, sigma: float = 0.25, seed: int | None = 0) -> Tensor:
    if seed is None:
        return RSC(sigma=sigma).encode(x[None], steps=steps, normalize=identity)
    with rng.scope(seed):
        return RSC(sigma=sigma).encode(x[None], steps=steps, normalize=identity)


@pytest.mark.parametrize("sigma", [0.1, 0.5])
def test_mean_spread_and_shape_of_the_noise(sigma: float) -> None:
    x, steps = images(), 400
    noise = (encoded(x, steps=steps, sigma=sigma) - x).double() / sigma
    assert noise.shape == (steps, 5, 1, 8, 8)
    count = noise.numel()
    assert abs(float(noise.mean())) < 4 / count**0.5
    assert float(noise.var()) == pytest.approx(1, abs=4 * (2 / count) ** 0.5)
    assert (noise.mean(0).abs() < 5 / steps**0.5).all()  # in every pixel
    inside = float((noise.abs() < 1).double().mean())
    assert inside == pytest.approx(0.6827, abs=0.005)  # the normal distribution, and nothing is clamped
    assert encoded(x, steps=steps, sigma=0.5).min() < 0
    assert encoded(x, steps=steps, sigma=0.5).max() > 1


def test_noise_is_independent_over_time_images_and_calls() -> None:
    x = images()
    with rng.scope(0):
        first, second = encoded(x, steps=600, seed=None) - x, encoded(x, steps=600, seed=None) - x
    for one, other in ((first[1:], first[:-1]), (first[:, 1:], first[:, :-1]), (first, second)):
        correlation = float((one * other).mean() / 0.25**2)
        assert abs(correlation) < 4 / one.numel() ** 0.5
    assert torch.equal(encoded(x, steps=3), encoded(x, steps=3))
    assert not torch.equal(encoded(x, steps=3), encoded(x, steps=3, seed=1))


def test_sigma_zero_is_direct_coding_and_draws_nothing() -> None:
    x, state = images(), torch.get_rng_state()
    off = RSC(sigma=0).encode(x[None], steps=4, normalize=lambda x: x * 2 - 1)
    assert torch.equal(off, Direct().encode(x[None], steps=4, normalize=lambda x: x * 2 - 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert not RSC(sigma=0).noisy
    assert RSC().noisy


def test_the_noise_comes_before_the_normalisation() -> None:
    x = images()
    with rng.scope(0):
        normalised = RSC(sigma=0.3).encode(x[None], steps=4, normalize=lambda x: (x - 0.5) / 0.2)
    torch.testing.assert_close(normalised, (encoded(x, steps=4, sigma=0.3) - 0.5) / 0.2)


def test_images_that_differ_from_step_to_step_get_the_noise_of_their_step() -> None:
    x = images()
    frames = torch.stack([x, 2 * x, 0 * x])
    with rng.scope(0):
        noisy = RSC().encode(frames, steps=3, normalize=identity)
    torch.testing.assert_close(noisy - frames, encoded(x, steps=3) - x)


def test_the_gradient_sums_over_the_steps() -> None:
    x = images().requires_grad_()
    weight = torch.randn(4, 5, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((encoded(x, steps=4) * weight).sum(), x)
    torch.testing.assert_close(gradient, weight.sum(0))


def test_t_noisy_copies_smooth_as_one_with_less_noise() -> None:
    assert RSC(sigma=0.5).smoothing_sigma(4) == 0.25
    assert RSC(sigma=0.3).smoothing_sigma(1) == 0.3
    assert RSC(sigma=0).smoothing_sigma(8) == 0
    assert Direct().smoothing_sigma(4) == 0
    # The reason: what one step has of an image is lost in noise T times as precisely known from T steps.
    mean = encoded(images(), steps=4, sigma=0.5)
    means = torch.stack([encoded(images(), steps=4, sigma=0.5, seed=seed).mean(0) for seed in range(300)])
    assert mean.shape[0] == 4
    assert float((means - images()).std()) == pytest.approx(RSC(sigma=0.5).smoothing_sigma(4), rel=0.02)


def test_a_network_with_it_is_random_in_eval_mode_and_says_so() -> None:
    model = build("vgg4-tiny", image_shape=(1, 8, 8), encoder=RSC()).eval()
    assert model.stochastic
    assert not build("vgg4-tiny", image_shape=(1, 8, 8), encoder=RSC(sigma=0)).stochastic
    seen: list[Tensor] = []
    model.body.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with rng.scope(0):
        model(images())
        model(images())
    assert not torch.equal(seen[0], seen[1])
    assert seen[0].shape == (4, 5, 1, 8, 8)


def test_its_name_and_its_range() -> None:
    assert Encoder.parse({"kind": "rsc", "sigma": 0.12}) == RSC(sigma=0.12)
    with pytest.raises(ValidationError):
        RSC(sigma=-0.1)
