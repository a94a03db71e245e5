"""Several attacks as one: who sees whom, which point is kept, and what AutoAttack is made of."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnguard.attacks import (
    APGD,
    DLR,
    FAB,
    PGD,
    Aim,
    Attack,
    CrossEntropy,
    Ensemble,
    GaussianNoise,
    InputGradient,
    MultiTargeted,
    Square,
    auto_attack,
)
from snnguard.attacks.ensemble import members
from snnguard.errors import InvalidRecipe, RequestError
from snnguard.neurons import ASSG, RateGradient
from snnguard.threat import L2, Linf

EPS = Linf(eps=0.3)
Make = Callable[..., Any]
STANDARD = ["apgd-ce", "apgd-t", "fab-t", "square"]


class First(nn.Module):
    """Class 1 where the first pixel is above 0.5; the lead of class 1 over class 0 is how far above."""

    def forward(self, x: Tensor) -> Tensor:
        score = x.flatten(1)[:, 0] - 0.5
        return torch.stack([torch.zeros_like(score), score], 1)


X = torch.tensor([0.30, 0.35, 0.45, 0.70], dtype=torch.float64).reshape(4, 1, 1, 1)
Y = torch.tensor([0, 0, 0, 1])  # all right


@pytest.fixture
def moving(new_attack: Make) -> Make:
    """`moving(by, seen)`: adds `by`, a number or a function of the images, and notes in `seen` what it was shown."""

    def make(by: Any, seen: list[list[float]]) -> Attack:
        def run(model: object, x: Tensor, aim: Aim) -> Tensor:
            seen.append([round(value, 4) for value in x.flatten().tolist()])
            return x + (by(x) if callable(by) else by)

        return new_attack(run)

    return make


def test_each_sees_what_those_before_left_and_the_winning_point_is_kept(moving: Make) -> None:
    seen: list[list[float]] = []
    attack = Ensemble(attacks=(moving(0.1, seen), moving(0.2, seen), moving(-0.25, seen)))
    found = attack(First(), X, Y, threat=EPS, seed=0)
    # + 0.1 turns 0.45; + 0.2 turns 0.35; - 0.25 turns 0.7, and does 0.3 no good.
    assert seen == [[0.3, 0.35, 0.45, 0.7], [0.3, 0.35, 0.7], [0.3, 0.7]]
    torch.testing.assert_close(found.flatten(), torch.tensor([0.5, 0.55, 0.55, 0.45], dtype=torch.float64))


def test_where_nothing_succeeds_the_point_nearest_to_success_is_kept(moving: Make) -> None:
    for order in ((0.05, 0.15, -0.1), (0.15, -0.1, 0.05), (-0.1, 0.05, 0.15)):
        attack = Ensemble(attacks=tuple(moving(by, []) for by in order))
        found = attack(First(), X[:1], Y[:1], threat=EPS, seed=0)
        assert float(found) == pytest.approx(0.45)


def test_who_is_won_by_the_first_is_not_looked_at_again(moving: Make) -> None:
    seen: list[list[float]] = []
    attack = Ensemble(attacks=(moving(lambda x: 0.6 - x, seen), moving(-0.2, seen)))
    found = attack(First(), X[:3], Y[:3], threat=EPS, seed=0)
    assert len(seen) == 1
    assert found.flatten().tolist() == pytest.approx([0.6, 0.6, 0.6])


def test_a_random_model_keeps_everybody_and_takes_the_largest_mean_lead(moving: Make) -> None:
    class Noisy(nn.Module):
        """A lead that is 1 too high in every second call, as a lucky draw would be."""

        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            score = x.flatten(1)[:, 0] - 0.5
            return torch.stack([torch.zeros_like(score), score + 2 * (self.calls % 2) - 1], 1)

    seen: list[list[float]] = []
    model = Noisy()
    attack = Ensemble(attacks=tuple(moving(by, seen) for by in (0.1, 0.25, 0.2)), draws=4)
    found = attack(model, X[:3], Y[:3], threat=EPS, seed=0)
    assert seen == [[0.3, 0.35, 0.45]] * 3
    assert model.calls == 12
    assert found.flatten().tolist() == pytest.approx([0.55, 0.6, 0.7])


def test_an_aim_at_a_class_is_passed_on_and_only_that_class_is_a_success(new_attack: Make) -> None:
    class Three(nn.Module):
        """Class 1 from 0.5 on, class 2 from 0.7 on."""

        def forward(self, x: Tensor) -> Tensor:
            score = x.flatten(1)[:, 0]
            return torch.stack([torch.zeros_like(score), score - 0.5, 2 * score - 1.2], 1)

    asked: list[tuple[list[int], bool]] = []

    def up(model: object, x: Tensor, aim: Aim) -> Tensor:
        assert aim.reach is not None
        asked.append((aim.reach.tolist(), aim.exact))
        return x + 0.2 * len(asked)

    up_twice = Ensemble(attacks=(new_attack(up),) * 2)
    found = up_twice(Three(), X[2:3], Y[2:3], threat=Linf(eps=0.5), seed=0, targets=torch.tensor([2]))
    assert asked == [([2], True)] * 2  # 0.65 is class 1, which was not asked for
    assert float(found) == pytest.approx(0.85)


@pytest.mark.parametrize("threat", [Linf(eps=0.05), L2(eps=0.12)], ids=["linf", "l2"])
def test_as_strong_as_the_best_of_its_parts_per_sample(threat: Any, smooth: nn.Module, images: Make) -> None:
    x = images(12)
    y = smooth(x).argmax(1)
    parts = (PGD(steps=1, random_start=False), APGD(steps=5), Square(queries=20))
    together = Ensemble(attacks=parts)(smooth, x, y, threat=threat, seed=3)
    turned = smooth(together).argmax(1) != y
    alone = PGD(steps=1, random_start=False)(smooth, x, y, threat=threat, seed=3)
    by_one = smooth(alone).argmax(1) != y
    assert 0 < by_one.sum() < turned.sum() < 12
    assert turned[by_one].all()
    assert torch.equal(together[by_one], alone[by_one])
    single = torch.cat([Ensemble(attacks=parts)(smooth, x[i : i + 1], y[i : i + 1], threat=threat, seed=3) for i in range(4)])
    torch.testing.assert_close(single, together[:4], rtol=0, atol=1e-10)


def test_nothing_moves_nothing(moving: Make) -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(1, 2)).double()
    nn.init.zeros_(flat[1].weight)
    found = Ensemble(attacks=(PGD(steps=2), Square(queries=3)))(flat, X, torch.zeros(4).long(), threat=EPS, seed=0)
    assert found.isfinite().all()
    zero = Ensemble.example()(First(), X, Y, threat=Linf(eps=0), seed=0)
    assert torch.equal(zero, X)


def test_bounded_only_if_all_are() -> None:
    assert Ensemble(attacks=(PGD(), Square())).bounded
    assert not Ensemble(attacks=(PGD(), GaussianNoise())).bounded


# --- AutoAttack -----------------------------------------------------------------------------------------------------


def test_the_standard_version() -> None:
    rule = ASSG(share=0.4)
    made = members("standard", InputGradient(rule=rule, loss=DLR()))
    ce, dlr = InputGradient(rule=rule), InputGradient(rule=rule, loss=DLR())
    assert made == {
        "apgd-ce": APGD(steps=100, early_stop=True, gradient=ce),
        "apgd-t": MultiTargeted(attack=APGD(steps=100, early_stop=True, gradient=dlr), classes=9),
        "fab-t": FAB(variant="targeted", steps=100, classes=9, gradient=ce),
        "square": Square(queries=5000),
    }
    assert list(made) == STANDARD


def test_the_version_plus() -> None:
    made = members("plus", InputGradient())
    assert list(made) == ["apgd-ce", "apgd-dlr", "fab", "apgd-t", "fab-t", "square"]
    assert made["apgd-ce"] == APGD(restarts=5, early_stop=True)
    assert made["apgd-dlr"] == APGD(restarts=5, early_stop=True, gradient=InputGradient(loss=DLR()))
    assert made["fab"] == FAB(variant="untargeted", restarts=5)
    assert {name: made[name] for name in STANDARD[1:]} == {
        name: attack for name, attack in members("standard", InputGradient()).items() if name in STANDARD[1:]
    }


def test_the_version_for_random_models() -> None:
    attack = Attack.parse({"kind": "auto-attack", "version": "rand"})
    ce, dlr = (InputGradient(loss=loss, draws=20) for loss in (CrossEntropy(), DLR()))
    assert attack == Ensemble(attacks=(APGD(gradient=ce), APGD(gradient=dlr)), draws=20)
    assert not any(part.early_stop for part in attack.attacks)  # type: ignore[attr-defined]
    assert members("rand", InputGradient(draws=3))["apgd-ce"].gradient.draws == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("version", ["standard", "plus"])
def test_draws_reach_every_part_and_nobody_stops_at_a_lucky_success(version: Any) -> None:
    made = members(version, InputGradient(draws=6))
    for part in made.values():
        inner = part.attack if isinstance(part, MultiTargeted) else part
        assert inner.draws == 6 if isinstance(inner, Square) else inner.gradient.draws == 6  # type: ignore[attr-defined]
        if isinstance(inner, APGD):
            assert not inner.early_stop
    assert auto_attack(version=version, gradient=InputGradient(draws=6)).draws == 6


@pytest.mark.parametrize("version", ["standard", "plus", "rand"])
def test_a_rule_reaches_every_part(version: Any) -> None:
    plain, rule = auto_attack(version=version), RateGradient()
    draws = plain.draws
    assert plain.with_rule(rule) == auto_attack(version=version, gradient=InputGradient(rule=rule, draws=draws))
    assert plain.with_rule(rule).with_rule(None) == plain
    assert plain.with_rule(rule) != plain


@pytest.mark.parametrize("version", ["standard", "plus", "rand"])
def test_json_round_trip(version: Any) -> None:
    attack = auto_attack(version=version, gradient=InputGradient(rule=ASSG(share=0.4), draws=2), target="random")
    assert Attack.parse(json.loads(json.dumps(attack.to_json()))) == attack
    assert attack.target == "random"
    assert Attack.parse({"kind": "auto-attack", "gradient": {"draws": 2}}) == auto_attack(gradient=InputGradient(draws=2))


def test_what_makes_no_ensemble_is_refused() -> None:
    with pytest.raises(RequestError, match="did you mean 'rand'"):
        auto_attack(version="random")  # type: ignore[arg-type]
    with pytest.raises(InvalidRecipe, match="unknown version 'standart'; did you mean 'standard'"):
        Attack.parse({"kind": "auto-attack", "version": "standart"})
    with pytest.raises(InvalidRecipe, match="attacks"):
        Attack.parse({"kind": "ensemble", "attacks": []})
    with pytest.raises(InvalidRecipe, match="give target='random' to the ensemble"):
        Attack.parse({"kind": "ensemble", "attacks": [{"kind": "fgsm", "target": "random"}]})


def test_the_whole_of_it_on_a_network_that_falls(smooth: nn.Module, images: Make) -> None:
    x = images(3)
    y = smooth(x).argmax(1)
    found = auto_attack()(smooth, x, y, threat=Linf(eps=0.4), seed=0)
    assert (smooth(found).argmax(1) != y).all()
