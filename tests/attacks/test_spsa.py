"""SPSA and NES: what they ask, what they make of the answers, and the steps that follow, written out on numbers."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnguard.attacks import PGD, SPSA, Attack, nes
from snnguard.errors import RequestError
from snnguard.threat import L2, Linf, Threat

Make = Callable[..., Any]
BALLS = pytest.mark.parametrize("threat", [Linf(eps=0.1), L2(eps=0.3)], ids=["linf", "l2"])
KINDS = pytest.mark.parametrize("kind", ["spsa", "nes"])


def zeros(n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.int64)


def small(kind: str, **settings: Any) -> SPSA:
    return Attack.parse({"kind": kind, "samples": 10, "steps": 5, **settings})


class Recorded(nn.Module):
    """Keeps what it is asked about; `score` gives the margin of class 0."""

    def __init__(self, score: Make) -> None:
        super().__init__()
        self.score, self.asked = score, []

    def forward(self, x: Tensor) -> Tensor:
        self.asked.append(x.clone())
        score = self.score(x)
        return torch.stack([torch.zeros_like(score), score], 1)


def bowl(x: Tensor) -> Tensor:
    """Highest, at -1, where all pixels are 0.8."""
    return -((x - 0.8) * torch.arange(1, 9).reshape(x.shape[1:])).square().flatten(1).sum(1) - 1


def replayed(attack: SPSA, x: Tensor, threat: Threat, adam: bool) -> tuple[list[Tensor], list[Tensor]]:
    """The points of a run on `bowl`, and what they have to be after the answers to the recorded questions."""
    model, delta, step = Recorded(bowl), attack.delta, attack.step_fraction * threat.eps
    attack(model, x, zeros(1), threat=threat, seed=0)
    looks, questions = model.asked[::2], model.asked[1::2]
    assert len(looks) == attack.steps + 1
    at, first, second, expected = x.clone(), torch.zeros_like(x), torch.zeros_like(x), [x]
    for t, asked in enumerate(questions, 1):
        slope = torch.zeros_like(x)
        for up, down in zip(asked[:10], asked[10:], strict=True):
            v = (up - down) / (2 * delta)
            slope += v * (bowl(up[None]) - bowl(down[None])) / (2 * delta * 10)
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope * slope
        move = first / (1 - 0.9**t) / ((second / (1 - 0.999**t)).sqrt() + 1e-8) if adam else threat.ascent(slope)
        if adam:
            move = move.clamp(-1, 1) if threat.kind == "linf" else move / max(1.0, float(move.norm()))
        at = threat.project(at + step * move, x)
        expected.append(at)
    return looks, expected


@BALLS
@KINDS
def test_the_steps_follow_from_the_answers(kind: str, threat: Threat, images: Make) -> None:
    x = images(1)
    looks, expected = replayed(small(kind), x, threat, adam=kind == "spsa")
    assert len(looks) == 6
    for look, point in zip(looks, expected, strict=True):
        torch.testing.assert_close(look, point, rtol=1e-9, atol=1e-12)
    assert bowl(looks[-1]) > bowl(looks[0])


def test_it_asks_in_pairs_on_either_side_of_the_point(images: Make) -> None:
    x = images(2)
    for kind, samples in (("spsa", 70), ("nes", 3000)):
        model = Recorded(lambda x: x.flatten(1).sum(1) - 1000)
        attack = small(kind, samples=samples, steps=1, delta=0.01)
        attack(model, x, zeros(2), threat=Linf(eps=0.1), seed=0)
        shares = []
        for asked in _grouped(model.asked[1:-1], 2 * 2 * 32):
            ups, downs = asked.reshape(2, 2, -1, 8).unbind(1)
            torch.testing.assert_close(ups + downs, 2 * x.reshape(2, 1, 8).expand_as(ups))
            shares.append((ups - x.reshape(2, 1, 8)) / 0.01)
        v = torch.cat(shares, 1)
        assert v.shape == (2, samples, 8)
        assert not torch.allclose(v[0], v[1])
        if kind == "spsa":
            torch.testing.assert_close(v.abs(), torch.ones_like(v))
            assert 0.4 < (v > 0).double().mean() < 0.6
        else:  # mean, variance and fourth moment of the standard normal
            n = v.numel()
            assert abs(v.mean()) < 4 / math.sqrt(n)
            assert abs(v.square().mean() - 1) < 4 * math.sqrt(2 / n)
            assert abs(v.pow(4).mean() - 3) < 4 * math.sqrt(96 / n)


def _grouped(asked: list[Tensor], size: int) -> list[Tensor]:
    """Questions that were split for the model, put together again as they were asked."""
    whole = torch.cat(asked)
    return list(whole.split(size))


@pytest.mark.parametrize("directions", ["rademacher", "gaussian"])
def test_the_mean_of_many_pairs_points_along_the_gradient(directions: str, images: Make) -> None:
    x, threat = images(3), L2(eps=1e-3)
    attack = SPSA(steps=1, samples=2000, step_fraction=1.0, directions=directions, update="ascent")
    moved = (attack(Recorded(bowl), x, zeros(3), threat=threat, seed=0) - x).flatten(1)
    slope = (2 * (0.8 - x) * torch.arange(1, 9).reshape(2, 2, 2).square()).flatten(1)
    assert (torch.cosine_similarity(moved, slope) > 0.99).all()


def test_what_it_costs(images: Make) -> None:
    model, x = Recorded(lambda x: x.flatten(1).sum(1) - 1000), images(3)
    small("spsa", steps=7, samples=40)(model, x, zeros(3), threat=Linf(eps=0.1), seed=0)
    assert sum(map(len, model.asked)) == 3 * (1 + 7 * (2 * 40 + 1))
    assert max(map(len, model.asked)) <= 256


@BALLS
@KINDS
def test_it_comes_close_to_the_optimum_of_a_linear_model(kind: str, threat: Threat, linear: Make, images: Make) -> None:
    w, x = torch.randn(8, generator=torch.Generator().manual_seed(0), dtype=torch.float64), images(3)
    model = linear(torch.stack([torch.zeros_like(w), w]), torch.tensor([100.0, 0]).double())
    rise = (small(kind, steps=60, samples=20)(model, x, zeros(3), threat=threat, seed=1) - x).flatten(1) @ w
    best = threat.eps * (w.abs().sum() if threat.kind == "linf" else w.norm())
    assert (rise <= best + 1e-9).all()
    assert (rise > 0.9 * best).all()


class Stairs(nn.Module):
    """A smooth network behind a step: its scores move, its gradient is zero everywhere."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model((x * 25).round() / 25)


@BALLS
@KINDS
def test_it_climbs_stairs_that_have_no_gradient(kind: str, threat: Threat, smooth: nn.Module, images: Make) -> None:
    x, model = images(20), Stairs(smooth)
    y = model(x).argmax(1)
    by_gradient = PGD(steps=20, random_start=False, early_stop=True)(model, x, y, threat=threat, seed=0)
    assert (model(by_gradient).argmax(1) == y).all()
    assert (model(small(kind, steps=15)(model, x, y, threat=threat, seed=0)).argmax(1) != y).sum() > 5


@KINDS
def test_who_is_won_leaves(kind: str, images: Make) -> None:
    x, wholly = images(3), Recorded(lambda x: x.flatten(1).sum(1) + 9)
    assert torch.equal(small(kind)(wholly, x, zeros(3), threat=Linf(eps=0.1), seed=0), x)
    assert [len(points) for points in wholly.asked] == [3]
    x = x - x.mean((1, 2, 3), keepdim=True) + torch.tensor([0.3, 0.5, 0.7]).reshape(3, 1, 1, 1)
    hurdle = x.flatten(1).sum(1) + torch.tensor([0.2, 9.0, 9.0])  # the first one alone can be won

    def score(points: Tensor) -> Tensor:
        near = (points.mean((1, 2, 3))[:, None] - torch.tensor([0.3, 0.5, 0.7])).abs().argmin(1)
        return points.flatten(1).sum(1) - hurdle[near]

    model = Recorded(score)
    x_adv = small(kind, steps=9, step_fraction=0.25)(model, x, zeros(3), threat=Linf(eps=0.08), seed=0)
    assert (score(x_adv) > 0).tolist() == [True, False, False]
    assert (len(model.asked[0]), len(model.asked[-1])) == (3, 2)
    model.asked.clear()
    late = small(kind, steps=9, step_fraction=0.25, early_stop=False)(model, x, zeros(3), threat=Linf(eps=0.08), seed=0)
    assert len(model.asked[-1]) == 3
    assert score(late)[0] > score(x_adv)[0]
    assert torch.equal(late[1:], x_adv[1:])


@BALLS
@KINDS
def test_it_reaches_the_class_that_it_is_sent_to(kind: str, threat: Threat, smooth: nn.Module, images: Make) -> None:
    x = images(12)
    targets = (smooth(x).argmax(1) + 1) % 4
    threat = threat.model_copy(update={"eps": 3.5 * threat.eps})
    x_adv = small(kind, steps=40)(smooth, x, (targets + 3) % 4, threat=threat, seed=0, targets=targets)
    assert (smooth(x_adv).argmax(1) == targets).sum() > 8


class Coin(nn.Module):
    """Each look adds noise of its own to a score that stays below zero in the mean."""

    def forward(self, x: Tensor) -> Tensor:
        score = x.flatten(1).sum(1) - 6 + 3 * torch.randn(len(x), dtype=x.dtype)
        return torch.stack([torch.zeros_like(score), score], 1)


def test_with_draws_no_single_look_counts_as_a_success(images: Make) -> None:
    x = images(20)
    lucky, sober = (
        small("spsa", steps=20, draws=draws, delta=0.1)(Coin(), x, zeros(20), threat=Linf(eps=0.1), seed=0) for draws in (1, 60)
    )
    assert float((sober - x).mean()) > 0.05  # of at most 0.1
    assert float((lucky - x).mean()) < 0.03


def test_it_asks_only_about_images_and_moves_inwards_at_the_edges_of_the_range() -> None:
    x = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1).repeat(1, 1, 3, 3)
    for kind in ("spsa", "nes"):
        model = Recorded(lambda x: (x - 0.5).abs().flatten(1).sum(1) * -1)
        x_adv = small(kind, steps=20)(model, x, zeros(2), threat=Linf(eps=0.1), seed=0)
        assert min(float(asked.min()) for asked in model.asked) == 0
        assert max(float(asked.max()) for asked in model.asked) == 1
        assert ((x_adv - x).abs() > 0.05).double().mean() > 0.9


@BALLS
@KINDS
def test_a_constant_model_gives_the_images_back(kind: str, threat: Threat, images: Make) -> None:
    x = images(3)
    for value in (-1.0, 0.0):
        model = Recorded(lambda x, v=value: x.flatten(1).sum(1) * 0 + v)
        assert torch.equal(small(kind)(model, x, zeros(3), threat=threat, seed=0), x)
    rising = Recorded(lambda x: x.flatten(1).sum(1) - 99)
    assert torch.equal(small(kind)(rising, x, zeros(3), threat=type(threat)(eps=0), seed=0), x)


def test_a_random_start_lies_in_the_ball_and_differs_by_seed(images: Make) -> None:
    x, starts = images(2), []
    for seed in (0, 1):
        model = Recorded(lambda x: x.flatten(1).sum(1) - 99)
        small("spsa", steps=1, random_start=True)(model, x, zeros(2), threat=L2(eps=0.2), seed=seed)
        starts.append(model.asked[0])
        assert L2(eps=0.2).contains(starts[-1], x).all()
    assert not torch.allclose(starts[0], starts[1])
    assert not torch.allclose(starts[0], x)


@pytest.mark.parametrize("early_stop", [False, True])
@BALLS
@KINDS
def test_the_size_of_the_batch_changes_no_bit(kind: str, threat: Threat, early_stop: bool, images: Make) -> None:
    x, y, attack = images(7), torch.arange(7) % 2, small(kind, samples=40, steps=4, early_stop=early_stop)
    model = Recorded(lambda x: torch.sin(9 * x.flatten(1)).cumsum(1)[:, -1])
    whole = attack(model, x, y, threat=threat, seed=3)
    for size in (1, 4):
        parts = [attack(model, a, b, threat=threat, seed=3) for a, b in zip(x.split(size), y.split(size), strict=True)]
        assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(attack(model, x, y, threat=threat, seed=4), whole)


def test_nes_is_a_setting_of_spsa() -> None:
    assert nes() == SPSA(
        steps=40, samples=25, delta=0.05, directions="gaussian", update="ascent", step_fraction=0.1, early_stop=True
    )
    assert Attack.parse({"kind": "nes", "steps": 3, "draws": 4, "target": "random"}) == nes(steps=3, draws=4, target="random")


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"samples": 0}, {"delta": 0}, {"directions": "up"}, {"update": "sgd"}, {"lr": 1}]
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        Attack.parse({"kind": "spsa", **wrong})
