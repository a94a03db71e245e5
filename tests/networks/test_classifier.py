"""The classifier's own part: images that differ from step to step, and noise on the input."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnguard import rng
from snnguard.attacks import InputGradient
from snnguard.encoders import Encoder
from snnguard.encoders.frequency import Frequency
from snnguard.encoders.timing import Burst, Latency
from snnguard.errors import InvalidInput
from snnguard.networks import Network, SpikingClassifier, build, construct

STEPS = 3


def lively(**settings: Any) -> SpikingClassifier:
    """A small network in double precision whose layers fire, in eval mode."""
    model = build("vgg4-tiny", classes=3, image_shape=(1, 8, 8), steps=STEPS, seed=1, **settings).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, 3.0)
    return model


def images(n: int = 4, seed: int = 0) -> Tensor:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def repeated(x: Tensor) -> Tensor:
    return x[:, None].repeat(1, STEPS, 1, 1, 1)


def inputs(model: SpikingClassifier, *batches: Tensor) -> list[Tensor]:
    """What the body sees of each batch."""
    seen: list[Tensor] = []
    handle = model.body.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    for x in batches:
        model(x)
    handle.remove()
    return seen


@pytest.mark.parametrize("encoder", ["direct", Frequency(), Latency(), Burst()], ids=str)
@pytest.mark.parametrize("training", [False, True])
def test_equal_frames_give_the_logits_of_the_image(encoder: Encoder | str, training: bool) -> None:
    model, x = lively(encoder=encoder).train(training), images()
    logits = model(x)
    torch.testing.assert_close(model(repeated(x)), logits)
    assert logits.std() > 0


def test_frames_come_in_their_order() -> None:
    model = lively(mean=[0.4], std=[0.5])
    frames = torch.stack([images(seed=t) for t in range(STEPS)], 1)
    (seen,) = inputs(model, frames)
    assert seen.shape == (STEPS, 4, 1, 8, 8)
    for t in range(STEPS):
        torch.testing.assert_close(seen[t], (images(seed=t) - 0.4) / 0.5, rtol=1e-6, atol=1e-6)  # constants in single precision
    assert not torch.allclose(model(frames), model(frames.flip(1)))


def test_the_gradient_for_an_image_is_the_sum_of_those_for_its_frames() -> None:
    model, x, y = lively(), images(), torch.tensor([0, 1, 2, 0])
    whole, frames = InputGradient()(model, x, y).gradient, InputGradient()(model, repeated(x), y).gradient
    assert frames.shape == (4, STEPS, 1, 8, 8)
    torch.testing.assert_close(frames.sum(1), whole)
    assert not torch.allclose(frames[:, 0], frames[:, 1])


@pytest.mark.parametrize("shape", [(4, STEPS + 1, 1, 8, 8), (4, 1, 1, 8, 8), (STEPS, 4, 1, 8, 8), (4, 1, 8, 9), (1, 8, 8)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match=r"built for images \(1, 8, 8\)"):
        lively()(torch.zeros(shape, dtype=torch.float64))


def test_input_noise_is_gaussian_in_raw_units_and_drawn_anew_in_every_call() -> None:
    model, x = lively(input_noise=0.2, mean=[0.5], std=[0.1]), images(200)
    with rng.scope(0):
        first, second = inputs(model, x, x)
    noise, other = (0.1 * seen[0] + 0.5 - x for seen in (first, second))
    count = noise.numel()
    for drawn in (noise, other):
        assert abs(float(drawn.mean())) < 4 * 0.2 / count**0.5
        assert float(drawn.std()) == pytest.approx(0.2, abs=4 * 0.2 / (2 * count) ** 0.5)
    assert abs(float((noise * other).mean())) < 4 * 0.2**2 / count**0.5
    with rng.scope(0):
        assert torch.equal(inputs(model, x)[0], first)


def test_input_noise_is_the_same_in_every_step_of_a_call() -> None:
    model, frames = lively(input_noise=0.2), torch.stack([images(seed=t) for t in range(STEPS)], 1)
    with rng.scope(0):
        (seen,) = inputs(model, frames)
    noise = seen - frames.transpose(0, 1)
    assert noise.std() > 0.1
    for t in range(1, STEPS):
        torch.testing.assert_close(noise[t], noise[0])


def test_input_noise_makes_a_network_stochastic_and_none_draws_nothing() -> None:
    noisy, quiet = (
        construct(Network(name="vgg4-tiny", input_noise=sigma), classes=3, image_shape=(1, 8, 8), mean=[0.0], std=[1.0]).eval()
        for sigma in (0.5, 0.0)
    )
    assert noisy.stochastic
    assert not quiet.stochastic
    x, state = images().float(), torch.get_rng_state()
    assert torch.equal(quiet(x), quiet(x))
    assert torch.equal(torch.get_rng_state(), state)
    with rng.scope(0):
        assert not torch.equal(inputs(noisy, x)[0], inputs(noisy, x)[0])
