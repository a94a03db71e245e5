"""Losses against their definitions, written out by hand."""

import math

import pytest
import torch

from snnguard.attacks import DLR, Aim, CrossEntropy, InputGradient, Loss, Margin

NEGATIVE = torch.tensor([[-1.0, -5.0, -3.0], [-7.0, -2.0, -4.0]])


def exactly(y: torch.Tensor) -> Aim:
    """To reach `y`, whatever the class before."""
    return Aim(y, y, exact=True)


def aim(y: torch.Tensor, targeted: bool) -> Aim:
    return exactly(y) if targeted else Aim(y)


def test_cross_entropy_by_hand() -> None:
    loss = CrossEntropy()(torch.tensor([[0.0, math.log(3.0)]]), Aim(torch.tensor([0])))
    torch.testing.assert_close(loss, torch.tensor([math.log(4.0)]))  # softmax gives 1/4


def test_the_runner_up_is_right_where_all_other_logits_are_negative() -> None:
    # The masked form of the published codes would take max(0, ...) = 0 as the runner-up here.
    wide = Margin(confidence=100)
    assert wide(NEGATIVE, Aim(torch.tensor([0, 0]))).tolist() == [-3 + 1, -2 + 7]
    assert wide(NEGATIVE, exactly(torch.tensor([0, 0]))).tolist() == [-1 + 3, -7 + 2]


@pytest.mark.parametrize("targeted", [False, True])
def test_the_margin_is_capped_on_the_side_of_success(targeted: bool) -> None:
    y = torch.tensor([0, 1]) if targeted else torch.tensor([1, 2])  # successes by 2, 2 and 4, 2
    for cap in (0.0, 1.0):
        assert Margin(confidence=cap)(NEGATIVE, aim(y, targeted)).tolist() == [cap, cap]
    failures = torch.tensor([1, 0]) if targeted else torch.tensor([0, 1])
    assert Margin()(NEGATIVE, aim(failures, targeted)).tolist() == ([-4.0, -5.0] if targeted else [-2.0, -2.0])


@pytest.mark.parametrize("targeted", [False, True])
def test_the_margin_has_a_gradient_until_it_succeeds(targeted: bool) -> None:
    logits = NEGATIVE.clone().requires_grad_()
    y = torch.tensor([1, 0]) if targeted else torch.tensor([0, 1])
    (gradient,) = torch.autograd.grad(Margin()(logits, aim(y, targeted)).sum(), logits)
    # Own logit, then the strongest other one; the third takes no part.
    expected = [[-1.0, 1.0, 0.0], [1.0, -1.0, 0.0]] if targeted else [[-1.0, 0.0, 1.0], [0.0, -1.0, 1.0]]
    assert gradient.tolist() == expected


HAND = torch.tensor([[1.0, 5.0, 3.0, -1.0]])


@pytest.mark.parametrize(("y", "value"), [(0, 4 / 4), (1, -2 / 4), (2, 2 / 4), (3, 6 / 4)])
def test_dlr_by_hand(y: int, value: float) -> None:
    # Sorted: 5, 3, 1, -1. The margin to the strongest other class, over first minus third = 4.
    assert DLR()(HAND, Aim(torch.tensor([y]))).tolist() == pytest.approx([value])


@pytest.mark.parametrize(("y", "value"), [(0, -4 / 5), (1, 2 / 5), (2, -2 / 5), (3, -6 / 5)])
def test_targeted_dlr_by_hand(y: int, value: float) -> None:
    # Over the first minus the mean of third and fourth, 5 - (1 - 1) / 2 = 5: the third class too has a gradient then.
    assert DLR()(HAND, exactly(torch.tensor([y]))).tolist() == pytest.approx([value])


@pytest.mark.parametrize("targeted", [False, True])
def test_dlr_knows_no_scale_and_no_shift(targeted: bool) -> None:
    logits = torch.randn(5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.tensor([0, 1, 2, 3, 4])
    there = DLR()(1e4 * logits - 7, aim(y, targeted))
    torch.testing.assert_close(there, DLR()(logits, aim(y, targeted)), rtol=1e-9, atol=0)


def test_dlr_is_finite_for_a_silent_network() -> None:
    logits = torch.zeros(2, 4, requires_grad=True)
    for targeted in (False, True):
        loss = DLR()(logits, aim(torch.tensor([0, 3]), targeted))
        (gradient,) = torch.autograd.grad(loss.sum(), logits)
        assert torch.isfinite(loss).all()
        assert torch.isfinite(gradient).all()


def test_where_there_are_too_few_classes_for_the_ratio_its_numerator_stands_in() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5]])
    y = torch.tensor([0])
    assert DLR()(logits[:, :2], Aim(y)).tolist() == [-3.0]
    assert DLR()(logits, exactly(y)).tolist() == exactly(y).lead(logits).tolist()
    assert DLR()(logits, Aim(y)).tolist() == pytest.approx([-1.5 / 3])  # three are enough to leave a class


def test_dlr_from_a_recipe_gives_the_gradient_of_the_ratio() -> None:
    gradient = InputGradient.parse({"loss": "dlr"})
    ascent = gradient(lambda x: x, HAND, torch.tensor([1]))
    # f = (3 - z_y) / (5 - 1) with z_y = z_(1): by the quotient rule -1/4 - f/4, then 1/4, then f/4 for the third.
    torch.testing.assert_close(ascent.gradient, torch.tensor([[-0.125, -0.125, 0.25, 0.0]]))


@pytest.mark.parametrize("name", Loss.members())
def test_losses_are_per_sample_and_larger_is_worse_for_the_model(name: str) -> None:
    loss = Loss.parse(name)
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0], [1.0, 1.5, 0.0, -1.0], [0.0, 5.0, 0.0, -1.0]])
    y = torch.tensor([0, 0, 0])
    values = loss(logits, Aim(y))
    assert values.shape == (3,)
    assert (values.diff() >= 0).all()
    assert values[2] > values[0]
    for i in range(3):
        torch.testing.assert_close(loss(logits[i : i + 1], Aim(y[:1])), values[i : i + 1])
    towards = loss(logits, exactly(torch.tensor([1, 1, 1])))
    assert (towards.diff() >= 0).all()
    assert towards[2] > towards[0]
    assert Loss.parse(loss.to_json()) == loss
