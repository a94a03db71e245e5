"""Zeros and norms of input gradients that are known."""

import pytest
import torch
from torch import nn

from snnguard.analysis import gradient_statistics
from snnguard.attacks import InputGradient
from snnguard.encoders import Poisson
from snnguard.neurons import FiredMask, RateGradient


def test_columns_of_zeros_are_pixels_without_a_gradient(linear):
    weight = torch.tensor([[1.0, 0.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.0]])
    x = torch.rand(3, 4)
    [one] = gradient_statistics(linear(weight), x, torch.tensor([0, 1, 0]), rules={"own": None}, batch_size=2)
    assert (one.rule, one.zero_entries, one.zero_images) == ("own", 0.75, 0.0)
    wrong = torch.sigmoid(-2 * x[:, 0] * torch.tensor([1, -1, 1]))  # the share of the other class
    assert one.l1 == pytest.approx((2 * wrong).tolist(), rel=1e-5)
    assert one.l2 == pytest.approx(one.l1)


def test_a_silent_network_has_a_gradient_under_no_rule_that_asks_for_spikes(network, images):
    model = network()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.zero_()
            module.bias.data.fill_(-5.0)
    y = torch.zeros(4, dtype=torch.long)
    for one in gradient_statistics(model, images(4), y, rules={"bptt": None, "fired": FiredMask()}):
        assert (one.zero_entries, one.zero_images, set(one.l1)) == (1.0, 1.0, {0.0})


@pytest.mark.parametrize("batch_size", [2, 128])
def test_each_rule_is_the_gradient_an_attacker_gets(network, images, batch_size):
    model, y = network(), torch.tensor([0, 1, 2, 3, 0])
    own, rate = gradient_statistics(
        model, images(5), y, rules={"own": None, "rate": RateGradient()}, batch_size=batch_size
    )  # fmt: skip
    for one, rule in ((own, None), (rate, RateGradient())):
        gradient = InputGradient(rule=rule)(model.requires_grad_(False), images(5), y).gradient.flatten(1)
        assert one.zero_entries == pytest.approx(float((gradient == 0).double().mean()))
        assert one.l1 == pytest.approx(gradient.abs().sum(1).tolist(), rel=1e-4)
    assert own.l1 != rate.l1


def test_draws_of_a_random_network(network, images):
    model, y = network(encoder=Poisson()), torch.tensor([0, 1, 2])
    few, many = (gradient_statistics(model, images(3), y, draws=draws) for draws in (1, 6))
    assert [one.rule for one in few] == ["bptt", "rate", "straight-through"]
    assert few == gradient_statistics(model, images(3), y, draws=1)
    assert few != many
