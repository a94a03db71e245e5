"""Surfaces of linear models, whose loss in the plane is known."""

import pytest
import torch

from snnguard.analysis import surfaces
from snnguard.encoders import Poisson
from snnguard.neurons import RateGradient
from snnguard.threat import L2, Linf


def test_along_the_gradient_the_loss_of_a_linear_model_rises_and_across_it_does_not(linear):
    weight = torch.randn(2, 9, generator=torch.Generator().manual_seed(0))
    x, y = torch.full((4, 1, 3, 3), 0.5), torch.tensor([0, 1, 0, 1])
    [one] = surfaces(linear(weight), x, y, threat=L2(eps=0.3), rules={"own": None}, points=5, batch_size=3)
    assert one.along == one.across == pytest.approx((-0.3, -0.15, 0.0, 0.15, 0.3))
    difference = weight[1] - weight[0]
    for a, row in zip(one.along, one.loss, strict=True):
        margin = 0.5 * difference.sum() * torch.tensor([1, -1]) + a * difference.norm()
        expected = float(torch.nn.functional.softplus(margin).mean())
        assert row == pytest.approx([expected] * 5, rel=1e-4)


def test_under_linf_both_directions_have_length_one_and_are_orthogonal(linear):
    weight = torch.randn(3, 64, generator=torch.Generator().manual_seed(1))
    x, y = torch.full((1, 1, 8, 8), 0.5), torch.tensor([2])
    seen = []
    model = linear(weight)
    model.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().clone()))
    [one] = surfaces(model, x, y, threat=Linf(eps=0.1), rules={"own": None}, points=3)
    centre, along, across = (seen[1 + i][0].flatten() for i in (4, 7, 5))  # after the gradient: (0, 0), (eps, 0), (0, eps)
    assert torch.equal(centre, x.flatten())
    assert float((along - centre).abs().max()) == pytest.approx(0.1, rel=1e-5)
    assert float((across - centre).abs().max()) == pytest.approx(0.1, rel=1e-5)
    assert float((along - centre) @ (across - centre)) == pytest.approx(0, abs=1e-6)
    assert one.loss[0][1] < one.loss[1][1] < one.loss[2][1]


def test_no_point_leaves_the_range_and_a_random_network_draws_the_same_everywhere(network, images):
    model, y = network(encoder=Poisson()), torch.tensor([0, 1, 2])
    lowest, highest = [], []

    def extremes(_, given):
        lowest.append(float(given[0].detach().min()))
        highest.append(float(given[0].detach().max()))

    model.register_forward_pre_hook(extremes)
    asked = {"threat": Linf(eps=0.3), "points": 3, "draws": 2, "rules": {"bptt": None, "rate": RateGradient()}}
    found = surfaces(model, images(3), y, **asked)
    assert min(lowest) >= 0
    assert max(highest) <= 1
    assert found == surfaces(model, images(3), y, **asked)
    assert found[0].loss[1][1] == found[1].loss[1][1]
    flat = surfaces(model, images(3), y, **{**asked, "threat": Linf(eps=0.0)})
    assert len({loss for one in flat for row in one.loss for loss in row}) == 1
