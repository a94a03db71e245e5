"""Label smoothing: values by hand, soft labels, and what it leaves alone."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn import functional

from snnguard.defenses import AdversarialTraining, Batch, Defense, Stack, Step
from snnguard.defenses.label_smoothing import LabelSmoothing
from snnguard.networks import build

STEP = Step(progress=0.5, seed=1, membranes={}, classes=4)


def batch(y: torch.Tensor) -> Batch:
    x = torch.rand(len(y), 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return Batch(x=x, y=y, clean=x)


def smoothed(y: torch.Tensor, amount: float) -> Batch:
    return LabelSmoothing(amount=amount).batch(nn.Identity(), batch(y), STEP)


def test_classes_by_hand() -> None:
    y = smoothed(torch.tensor([0, 3]), 0.2).y
    torch.testing.assert_close(y, torch.tensor([[0.85, 0.05, 0.05, 0.05], [0.05, 0.05, 0.05, 0.85]]))


def test_soft_labels_by_hand() -> None:
    y = smoothed(torch.tensor([[0.5, 0.5, 0.0, 0.0]]), 0.4).y
    torch.testing.assert_close(y, torch.tensor([[0.4, 0.4, 0.1, 0.1]]))


def test_a_class_that_no_image_of_the_batch_has_gets_its_share() -> None:
    assert smoothed(torch.tensor([0, 1, 0]), 0.1).y.shape == (3, 4)


def test_the_images_stay() -> None:
    given = batch(torch.tensor([0, 1]))
    after = LabelSmoothing().batch(nn.Identity(), given, STEP)
    assert after.x is given.x
    assert after.clean is given.clean


def test_the_loss_is_that_of_pytorchs_own_smoothing() -> None:
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.tensor([0, 1, 2, 3, 1])
    expected = functional.cross_entropy(logits, y, label_smoothing=0.3)
    torch.testing.assert_close(functional.cross_entropy(logits, smoothed(y, 0.3).y.double()), expected, rtol=1e-6, atol=1e-6)


def test_nothing_without_an_amount() -> None:
    given = batch(torch.tensor([0, 1]))
    assert LabelSmoothing(amount=0).batch(nn.Identity(), given, STEP) is given


def test_the_default_is_that_of_the_paper_and_all_of_the_label_cannot_go() -> None:
    assert Defense.parse("label-smoothing") == LabelSmoothing(amount=0.1)
    for amount in (-0.1, 1.0):
        with pytest.raises(ValidationError):
            LabelSmoothing(amount=amount)


def test_an_attack_behind_it_takes_the_smoothed_labels() -> None:
    model = build("vgg4-tiny", classes=4, image_shape=(1, 8, 8), steps=2)
    given = batch(torch.tensor([0, 1, 2, 3]))
    parts = LabelSmoothing(), AdversarialTraining.example()
    for stack in (Stack(parts=parts), Stack(parts=parts[::-1])):
        after = stack.batch(model, given, STEP)
        assert (after.x - given.x).abs().max() > 0
        torch.testing.assert_close(after.y.diagonal(), torch.full((4,), 0.925))
