"""Labels as probabilities: one-hot ones are classes, bad ones are refused, targets and margins use the most likely class."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from snnguard.attacks import CW, PGD, Attack, CrossEntropy, InputGradient, Margin, check_labels, fgsm, hard, is_soft
from snnguard.errors import InvalidInput
from snnguard.networks import build
from snnguard.threat import L2, Linf

Make = Callable[..., Any]

Y = torch.tensor([0, 3, 2, 1, 1])


def one_hot(y: Tensor = Y) -> Tensor:
    return functional.one_hot(y, 4).double()


def leaning(y: Tensor = Y) -> Tensor:
    """Probabilities whose most likely class is `y`."""
    return 0.6 * one_hot(y) + 0.1


@pytest.mark.parametrize("threat", [Linf(eps=0.1), L2(eps=0.3)])
@pytest.mark.parametrize("attack", [PGD(steps=4), PGD(steps=4, early_stop=True), PGD(steps=3, momentum=0.9), fgsm()], ids=str)
def test_one_hot_labels_give_the_images_of_the_classes_bit_for_bit(
    attack: Attack, threat: Any, smooth: nn.Module, images: Make
) -> None:
    x = images(5)
    classes = attack(smooth, x, Y, threat=threat, seed=3)
    assert torch.equal(attack(smooth, x, one_hot(), threat=threat, seed=3), classes)
    assert not torch.equal(classes, x)


def test_one_hot_labels_attack_a_spiking_network_as_the_classes_do() -> None:
    model = build("vgg4-tiny", classes=4, image_shape=(1, 8, 8), steps=2, seed=1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, 3.0)  # an untrained network would hardly fire
    x = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    classes = PGD(steps=3)(model, x, Y, threat=Linf(eps=0.1), seed=3)
    assert torch.equal(PGD(steps=3)(model, x, one_hot().float(), threat=Linf(eps=0.1), seed=3), classes)
    start = PGD(steps=1, step_size=1e-12)(model, x, Y, threat=Linf(eps=0.1), seed=3)
    assert not torch.allclose(classes, start)


def test_the_cross_entropy_with_probabilities_by_hand(smooth: nn.Module, images: Make) -> None:
    ascent = InputGradient(loss=CrossEntropy())(smooth, images(5), leaning())
    log = smooth(images(5)).detach().log_softmax(1)
    torch.testing.assert_close(ascent.loss, -(0.6 * log.gather(1, Y[:, None])[:, 0] + 0.1 * log.sum(1)))
    apart = [InputGradient()(smooth, images(5), torch.full((5,), k)).gradient for k in range(4)]
    own = InputGradient()(smooth, images(5), Y).gradient
    torch.testing.assert_close(ascent.gradient, 0.6 * own + 0.1 * sum(apart))


def test_the_margin_takes_the_most_likely_class(smooth: nn.Module, images: Make) -> None:
    x = images(5)
    soft, classes = (InputGradient(loss=Margin(confidence=9))(smooth, x, y) for y in (leaning(), Y))
    assert all(torch.equal(a, b) for a, b in zip(soft, classes, strict=True))


def test_cw_takes_the_most_likely_class(smooth: nn.Module, images: Make) -> None:
    # Four images and four classes: a comparison of [N] with [N, K] would go unnoticed.
    x, attack, threat = images(4), CW(steps=20, gradient=InputGradient(loss=Margin())), L2(eps=1)
    classes = attack(smooth, x, Y[:4], threat=threat, seed=0)
    assert torch.equal(attack(smooth, x, leaning()[:4], threat=threat, seed=0), classes)
    assert not torch.equal(classes, x)


@pytest.mark.parametrize("target", ["random", "least-likely"])
def test_a_targeted_attack_leaves_the_most_likely_class(target: Any, smooth: nn.Module, images: Make) -> None:
    x, attack = images(5), PGD(steps=4, target=target)
    threat = Linf(eps=0.2)
    classes = attack(smooth, x, Y, threat=threat, seed=3)
    assert torch.equal(attack(smooth, x, leaning(), threat=threat, seed=3), classes)
    if target == "random":  # the least likely class does not depend on the label
        assert not torch.equal(attack(smooth, x, leaning((Y + 1) % 4), threat=threat, seed=3), classes)


def test_targets_by_name_are_classes_beside_soft_labels(smooth: nn.Module, images: Make) -> None:
    x, targets, threat = images(5), (Y + 1) % 4, Linf(eps=0.2)
    named = PGD(steps=4)(smooth, x, Y, threat=threat, seed=3, targets=targets)
    assert torch.equal(PGD(steps=4)(smooth, x, leaning(), threat=threat, seed=3, targets=targets), named)


def test_the_labels_of_the_caller_stay_as_they_are(smooth: nn.Module, images: Make) -> None:
    y = leaning().requires_grad_()
    before = y.detach().clone()
    x_adv = PGD(steps=2)(smooth, images(5), y, threat=Linf(eps=0.1), seed=0)
    assert torch.equal(y, before)
    assert y.grad is None
    assert not x_adv.requires_grad


GOOD = {"one-hot": one_hot(), "leaning": leaning(), "single": leaning().float(), "half": leaning().half()}


@pytest.mark.parametrize("name", GOOD)
def test_probabilities_pass(name: str) -> None:
    check_labels(torch.rand(5, 2), GOOD[name])
    check_labels(torch.rand(5, 2), GOOD[name], 4)


BAD = {
    "sums": (torch.full((5, 4), 0.3), 4),
    "negative": (torch.tensor([[1.2, -0.2, 0.0, 0.0]]).repeat(5, 1), 4),
    "classes": (leaning(), 3),
    "nan": (torch.full((5, 4), torch.nan), 4),
    "logits": (torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), None),
}


@pytest.mark.parametrize("name", BAD)
def test_what_are_no_probabilities_is_refused(name: str, smooth: nn.Module, images: Make) -> None:
    y, classes = BAD[name]
    with pytest.raises(InvalidInput, match="soft labels must be probabilities"):
        check_labels(torch.rand(5, 2), y, classes)
    if name != "classes":
        with pytest.raises(InvalidInput, match="probabilities"):
            PGD(steps=1)(smooth, images(5), y.double(), threat=Linf(eps=0.1), seed=0)


def test_probabilities_over_other_classes_than_the_models_are_refused(smooth: nn.Module, images: Make) -> None:
    with pytest.raises(InvalidInput, match="over 4 classes"):
        PGD(steps=1)(smooth, images(5), torch.full((5, 3), 1 / 3), threat=Linf(eps=0.1), seed=0)


def test_one_row_per_image(smooth: nn.Module, images: Make) -> None:
    with pytest.raises(InvalidInput, match=r"\[5\], one per image"):
        check_labels(torch.rand(5, 2), leaning()[:4])
    with pytest.raises(InvalidInput, match="one per image"):
        PGD(steps=1)(smooth, images(5), leaning()[:4], threat=Linf(eps=0.1), seed=0)


def test_which_labels_are_soft_and_what_they_say() -> None:
    assert is_soft(leaning())
    assert not is_soft(Y)
    assert not is_soft(torch.zeros(5, 4, dtype=torch.long))
    assert torch.equal(hard(leaning()), Y)
    assert hard(Y) is Y
