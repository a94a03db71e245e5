"""Random points of the ball: where they lie, which is kept, who leaves."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnguard.attacks import PGD, Attack, RandomSearch
from snnguard.errors import RequestError
from snnguard.threat import L2, Linf, Threat

Make = Callable[..., Any]
BALLS = pytest.mark.parametrize("threat", [Linf(eps=0.1), L2(eps=0.3)], ids=["linf", "l2"])


def zeros(n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.int64)


class Recorded(nn.Module):
    """Keeps what it is asked about; `score` gives the margin of class 0."""

    def __init__(self, score: Make) -> None:
        super().__init__()
        self.score, self.asked = score, []

    def forward(self, x: Tensor) -> Tensor:
        self.asked.append(x.clone())
        score = self.score(x)
        return torch.stack([torch.zeros_like(score), score], 1)


def never(x: Tensor) -> Tensor:
    return x.flatten(1).sum(1) - 1000


@BALLS
def test_half_of_the_points_fill_the_ball_and_half_lie_on_its_edge(threat: Threat, images: Make) -> None:
    x, model = images(2), Recorded(never)
    RandomSearch(points=400)(model, x, zeros(2), threat=threat, seed=0)
    assert len(model.asked) == 401
    assert torch.equal(model.asked[0], x)
    share = torch.stack([threat.distance(points, x) for points in model.asked[1:]]) / threat.eps
    inside, edge = share[::2].flatten(), share[1::2].flatten()
    torch.testing.assert_close(edge, torch.ones_like(edge))
    # Uniform in a ball of 8 dimensions: the 8th power of the share is uniform.
    volume = inside**8
    assert abs(volume.mean() - 0.5) < 4 / math.sqrt(12 * len(volume))
    assert abs(volume.var() - 1 / 12) < 4 / math.sqrt(180 * len(volume))
    if threat.kind == "linf":
        corners = torch.stack(model.asked[2::2]) - x
        torch.testing.assert_close(corners.abs(), torch.full_like(corners, 0.1))
    moved = (torch.stack(model.asked[1:]) - x).flatten(2)
    assert len(moved[::2].flatten(0, 1).unique(dim=0)) == 400
    assert (moved.mean((0, 1)).abs() < 4 * moved.std() / math.sqrt(800)).all()


@BALLS
def test_the_best_point_of_all_is_returned(threat: Threat, images: Make) -> None:
    x, model = images(3), Recorded(never)
    x_adv = RandomSearch(points=30)(model, x, zeros(3), threat=threat, seed=0)
    asked = torch.stack(model.asked)
    best = asked.flatten(2).sum(2).argmax(0)
    torch.testing.assert_close(x_adv, torch.stack([asked[best[i], i] for i in range(3)]), atol=1e-15, rtol=0)


def test_the_image_itself_comes_back_where_no_point_is_better(images: Make) -> None:
    x = images(3)
    worse = Recorded(lambda points: -(points - x[: len(points)]).flatten(1).norm(dim=1) - 1)
    assert torch.equal(RandomSearch(points=9)(worse, x, zeros(3), threat=Linf(eps=0.1), seed=0), x)
    constant = Recorded(lambda points: points.flatten(1).sum(1) * 0 - 1)
    assert torch.equal(RandomSearch(points=9)(constant, x, zeros(3), threat=L2(eps=0.1), seed=0), x)
    assert torch.equal(RandomSearch(points=9)(Recorded(never), x, zeros(3), threat=L2(eps=0.0), seed=0), x)


def test_who_is_won_leaves(images: Make) -> None:
    x, wholly = images(3), Recorded(lambda x: never(x) + 2000)
    assert torch.equal(RandomSearch(points=9)(wholly, x, zeros(3), threat=Linf(eps=0.1), seed=0), x)
    assert [len(points) for points in wholly.asked] == [3]
    hurdle = x.flatten(1).sum(1) + torch.tensor([0.2, 9.0, 9.0])  # by its brightness: the first one alone can be won

    def score(points: Tensor) -> Tensor:
        total = points.flatten(1).sum(1)
        return total - hurdle[(points[:, None] - x).flatten(2).norm(dim=2).argmin(1)]

    model = Recorded(score)
    x_adv = RandomSearch(points=40)(model, x, zeros(3), threat=Linf(eps=0.1), seed=0)
    sizes = [len(points) for points in model.asked]
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[1], sizes[-1], len(sizes)) == (3, 2, 41)
    assert (score(x_adv) > 0).tolist() == [True, False, False]
    model.asked.clear()
    RandomSearch(points=40, early_stop=False)(model, x, zeros(3), threat=Linf(eps=0.1), seed=0)
    assert [len(points) for points in model.asked] == [3] * 41


class Hidden(nn.Module):
    """A smooth network behind a step: its scores move, its gradient is zero everywhere."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model((x * 50).round() / 50)


@BALLS
def test_it_finds_what_a_vanished_gradient_hides(threat: Threat, smooth: nn.Module, images: Make) -> None:
    x, model = images(20), Hidden(smooth)
    y = model(x).argmax(1)
    by_gradient = PGD(steps=20, random_start=False, early_stop=True)(model, x, y, threat=threat, seed=0)
    assert (model(by_gradient).argmax(1) == y).all()
    assert (model(RandomSearch(points=60)(model, x, y, threat=threat, seed=0)).argmax(1) != y).sum() > 3


def test_it_reaches_the_class_that_it_is_sent_to(smooth: nn.Module, images: Make) -> None:
    x = images(12)
    y = smooth(x).argmax(1)
    x_adv = RandomSearch(points=80)(smooth, x, y, threat=Linf(eps=0.4), seed=0, targets=(y + 1) % 4)
    assert (smooth(x_adv).argmax(1) == (y + 1) % 4).sum() > 9


class Coin(nn.Module):
    """Each look adds noise of its own to a score that stays below zero in the mean."""

    def forward(self, x: Tensor) -> Tensor:
        score = x.flatten(1).sum(1) - 6 + 3 * torch.randn(len(x), dtype=x.dtype)
        return torch.stack([torch.zeros_like(score), score], 1)


def test_with_draws_no_single_look_counts_as_a_success(images: Make) -> None:
    x = images(30)
    lucky = RandomSearch(points=60)(Coin(), x, zeros(30), threat=Linf(eps=0.1), seed=0)
    sober = RandomSearch(points=60, draws=80)(Coin(), x, zeros(30), threat=Linf(eps=0.1), seed=0)
    # The best of 60 corners is about 2.3 standard deviations 0.1 sqrt(8) out; a lucky one is any.
    assert float((sober - x).flatten(1).sum(1).mean()) > 0.25
    assert float((lucky - x).flatten(1).sum(1).mean()) < 0.15


@BALLS
def test_the_edges_of_the_range_cut_the_points(threat: Threat) -> None:
    x, model = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1).repeat(1, 1, 3, 3), Recorded(never)
    RandomSearch(points=20)(model, x, zeros(2), threat=threat, seed=0)
    asked = torch.stack(model.asked[1:])
    assert asked.min() == 0
    assert asked.max() == 1
    assert ((asked - x).flatten(2).abs().amax(2) > 0).all()


@BALLS
def test_the_size_of_the_batch_changes_no_bit(threat: Threat, images: Make) -> None:
    x, y, attack = images(6), torch.arange(6) % 2, RandomSearch(points=25)
    model = Recorded(lambda x: torch.sin(9 * x.flatten(1)).cumsum(1)[:, -1])
    whole = attack(model, x, y, threat=threat, seed=3)
    for size in (1, 4):
        parts = [attack(model, a, b, threat=threat, seed=3) for a, b in zip(x.split(size), y.split(size), strict=True)]
        assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(attack(model, x, y, threat=threat, seed=4), whole)


@pytest.mark.parametrize("wrong", [{"points": 0}, {"draws": 0}, {"queries": 3}])
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        Attack.parse({"kind": "random-search", **wrong})
