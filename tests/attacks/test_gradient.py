"""The input gradient: against finite differences, averages over draws, and zeros where there is none."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from snnguard import rng
from snnguard.attacks import Aim, Ascent, CrossEntropy, InputGradient, Margin, gradient
from snnguard.attacks.pieces import Pieces
from snnguard.encoders import Poisson
from snnguard.errors import InvalidInput, RequestError
from snnguard.networks import build
from snnguard.neurons import BPTT, RateGradient, Sigmoid, neurons_of, use_rule

Make = Callable[..., Any]

Y = torch.tensor([0, 1, 2])


def test_equals_finite_differences_on_a_smooth_network(smooth: nn.Module, images: Make) -> None:
    x, step = images(3), 1e-5
    ascent = InputGradient()(smooth, x, Y)
    for pixel in range(8):
        shift = torch.zeros(8, dtype=x.dtype)
        shift[pixel] = step
        shift = shift.reshape(1, 2, 2, 2)
        up, down = (functional.cross_entropy(smooth(x + s), Y, reduction="none") for s in (shift, -shift))
        torch.testing.assert_close(
            ascent.gradient.flatten(1)[:, pixel], (up - down).detach() / (2 * step), rtol=1e-6, atol=1e-8
        )
    torch.testing.assert_close(ascent.logits, smooth(x).detach())
    torch.testing.assert_close(ascent.loss, functional.cross_entropy(smooth(x), Y, reduction="none").detach())


def test_targeted_turns_the_gradient_round(smooth: nn.Module, images: Make) -> None:
    away, towards = (InputGradient()(smooth, images(3), aim) for aim in (Aim(Y), Aim(Y, Y, exact=True)))
    assert torch.equal(away.gradient, -towards.gradient)


@pytest.mark.parametrize("loss", [CrossEntropy(), Margin(confidence=10)])
def test_a_sample_does_not_depend_on_the_batch_size(loss: object, smooth: nn.Module, images: Make) -> None:
    x, gradient = images(3), InputGradient(loss=loss)
    together = gradient(smooth, x, Y)
    for i in range(3):
        alone = gradient(smooth, x[i : i + 1], Y[i : i + 1])
        torch.testing.assert_close(alone.gradient[0], together.gradient[i], rtol=1e-12, atol=1e-14)


def spiking(**settings: object) -> nn.Module:
    model = build("vgg4-tiny", classes=3, image_shape=(1, 8, 8), steps=2, seed=1, **settings).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, 3.0)  # an untrained network would hardly fire
    return model


def grey(n: int = 3) -> Tensor:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def test_draws_are_averaged() -> None:
    model = spiking(encoder=Poisson())
    with rng.scope(5):
        averaged = InputGradient(draws=4)(model, grey(), Y)
    with rng.scope(5):
        single = [InputGradient()(model, grey(), Y) for _ in range(4)]
    assert not torch.equal(single[0].gradient, single[1].gradient)
    for field in Ascent._fields:
        torch.testing.assert_close(getattr(averaged, field), torch.stack([getattr(s, field) for s in single]).mean(0))


def test_the_variance_of_the_gradient_falls_as_one_over_draws() -> None:
    model, repeats = spiking(encoder=Poisson()), 60

    def variance(draws: int) -> float:
        with rng.scope(draws):
            gradients = [InputGradient(draws=draws)(model, grey(), Y).gradient for _ in range(repeats)]
        return float(torch.stack(gradients).var(0).mean())

    ratio = variance(1) / variance(8)
    assert 6 < ratio < 10.5  # 8 within what the 192 pixels and 60 repeats leave open


def test_draws_are_irrelevant_for_a_deterministic_model() -> None:
    model = spiking()
    one, many = (InputGradient(draws=n)(model, grey(), Y).gradient for n in (1, 3))
    torch.testing.assert_close(one, many)


def test_the_rule_is_followed_and_removed() -> None:
    model = spiking()
    with use_rule(model, RateGradient()):
        expected = InputGradient()(model, grey(), Y)
    ruled = InputGradient(rule=RateGradient())(model, grey(), Y)
    own = InputGradient()(model, grey(), Y)
    assert torch.equal(ruled.gradient, expected.gradient)
    assert not torch.equal(ruled.gradient, own.gradient)
    assert not torch.equal(InputGradient(rule=BPTT(surrogate=Sigmoid()))(model, grey(), Y).gradient, own.gradient)
    assert torch.equal(InputGradient(rule=BPTT())(model, grey(), Y).gradient, own.gradient)
    assert torch.equal(ruled.logits, own.logits)
    assert all(neuron.rule is None for neuron in neurons_of(model).values())


def test_a_rule_needs_a_neuron(smooth: nn.Module, images: Make) -> None:
    with pytest.raises(RequestError, match="no SNNGuard neuron"):
        InputGradient(rule=BPTT())(smooth, images(3), Y)
    with pytest.raises(RequestError):
        InputGradient(rule=BPTT())(lambda x: x.flatten(1), images(3), Y)


@pytest.mark.parametrize("model", [lambda x: (x.flatten(1) > 0.5).double(), lambda x: torch.eye(3, 4, requires_grad=True)])
def test_a_graph_that_does_not_reach_the_image_is_a_zero_gradient(model: object, images: Make) -> None:
    ascent = InputGradient()(model, images(3), Y)
    assert torch.equal(ascent.gradient, torch.zeros_like(images(3)))
    assert ascent.loss.shape == (3,)


def test_works_where_gradients_are_switched_off_and_takes_no_part_in_the_callers_graph(smooth: nn.Module, images: Make) -> None:
    x = images(3).requires_grad_()
    with torch.no_grad():
        ascent = InputGradient()(smooth, x, Y)
    assert ascent.gradient.abs().sum() > 0
    assert not any(part.requires_grad for part in ascent)
    assert x.grad is None
    assert all(p.grad is None for p in smooth.parameters())


def test_half_precision_logits_are_judged_in_single_precision(images: Make) -> None:
    weight = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    ascent = InputGradient()(lambda x: (x.flatten(1) @ weight).bfloat16(), images(3).float(), Y)
    assert ascent.loss.dtype == torch.float32
    assert ascent.gradient.dtype == torch.float32


def test_labels_beyond_the_classes_are_refused(smooth: nn.Module, images: Make) -> None:
    with pytest.raises(InvalidInput, match="0 to 3; found 0 to 4"):
        InputGradient()(smooth, images(2), torch.tensor([0, 4]))


def test_labels_are_looked_at_in_every_piece_and_once(smooth: nn.Module, images: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A smaller piece, as where memory has run out; and a second call of the same run, where nobody waits for them again."""
    seen: list[int] = []
    real = gradient.check_labels
    monkeypatch.setattr(gradient, "check_labels", lambda x, *rest: (seen.append(len(x)), real(x, *rest)))
    x, good = images(8), torch.zeros(8, dtype=torch.int64)
    run = InputGradient().begin(smooth, 8)
    run.pieces = Pieces(4)
    for _ in range(2):
        run(x, Aim(good))
    assert seen == [4, 4]
    run = InputGradient().begin(smooth, 8)
    run.pieces = Pieces(4)
    with pytest.raises(InvalidInput, match="0 to 3; found 0 to 7"):
        run(x, Aim(torch.where(torch.arange(8) == 6, 7, good)))
