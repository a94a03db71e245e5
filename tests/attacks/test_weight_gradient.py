"""The gradient of the mean loss for parameters, against closed forms."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from snnguard.attacks import CrossEntropy, Margin, weight_gradient

Make = Callable[..., Any]

W = torch.tensor([[0.5, -1.0], [0.0, 2.0], [1.5, 0.25]], dtype=torch.float64)
X = torch.tensor([[1.0, 2.0], [-0.5, 0.25]], dtype=torch.float64)
Y = torch.tensor([2, 0])


def softmax_minus(label: Tensor) -> Tensor:
    return (X @ W.T).softmax(1) - label


def test_the_cross_entropy_of_a_linear_model_in_closed_form(linear: Make) -> None:
    model = linear(W)
    # dCE/dW = (p - onehot)^T x / N, dCE/db = mean(p - onehot).
    for y, label in ((Y, functional.one_hot(Y, 3).double()), *[(torch.full((2, 3), 1 / 3).double(),) * 2]):
        weight, bias = weight_gradient(model, X, y, [model.weight, model.bias], CrossEntropy())
        torch.testing.assert_close(weight, softmax_minus(label).T @ X / 2)
        torch.testing.assert_close(bias, softmax_minus(label).mean(0))


def test_the_margin_of_a_linear_model_by_hand(linear: Make) -> None:
    # Logits (-1.5, 4, 2) and (-0.5, 0.5, -0.6875): class 1 leads in both, own classes 2 and 0.
    model = linear(W)
    (weight,) = weight_gradient(model, X, Y, [model.weight], Margin(confidence=100))
    torch.testing.assert_close(weight, torch.stack([-X[1], X[0] + X[1], -X[0]]) / 2)


def test_the_mean_over_the_batch_and_the_order_of_the_parameters(linear: Make) -> None:
    model = linear(W)
    weight, bias = weight_gradient(model, X, Y, [model.weight, model.bias], CrossEntropy())
    bias_first, weight_second = weight_gradient(model, X.repeat(3, 1), Y.repeat(3), [model.bias, model.weight], CrossEntropy())
    torch.testing.assert_close(bias_first, bias)
    torch.testing.assert_close(weight_second, weight)


def test_nothing_is_accumulated_and_it_works_where_gradients_are_off(linear: Make) -> None:
    model = linear(W)
    with torch.no_grad():
        gradients = weight_gradient(model, X, Y, [model.weight], CrossEntropy())
    assert gradients[0].abs().sum() > 0
    assert not gradients[0].requires_grad
    assert model.weight.grad is None
    assert model.bias.grad is None
    assert torch.equal(model.weight, W)


def test_a_parameter_that_takes_no_part_has_a_zero_gradient(linear: Make) -> None:
    model, idle = linear(W), nn.Parameter(torch.ones(4, dtype=torch.float64))
    weight, none = weight_gradient(model, X, Y, [model.weight, idle], CrossEntropy())
    assert torch.equal(none, torch.zeros(4, dtype=torch.float64))
    assert weight.abs().sum() > 0


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_that_of_the_model(training: bool) -> None:
    norm = nn.BatchNorm1d(2).double().train(training)
    (bias,) = weight_gradient(norm, 5 * X + 3, torch.tensor([1, 0]), [norm.bias], CrossEntropy())
    z = 5 * X + 3
    logits = (z - z.mean(0)) / (z.var(0, correction=0) + norm.eps).sqrt() if training else z / (1 + norm.eps) ** 0.5
    torch.testing.assert_close(bias, (logits.softmax(1) - torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double()).mean(0))
    assert norm.training == training
