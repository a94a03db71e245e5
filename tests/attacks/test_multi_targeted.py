"""Multi-targeted attacks: which classes they try on which samples, what they keep, and what they find that one run misses."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnguard import rng
from snnguard.attacks import (
    APGD,
    CW,
    DLR,
    FAB,
    PGD,
    Aim,
    Attack,
    CrossEntropy,
    InputGradient,
    Margin,
    MultiTargeted,
    UniformNoise,
    apgd_t,
    mt_pgd,
)  # fmt: skip
from snnguard.attacks.multi_targeted import LEAD, wrong_classes
from snnguard.errors import RequestError
from snnguard.neurons import BPTT, Triangle
from snnguard.threat import L2, Linf

Make = Callable[..., Any]

THREATS = [Linf(eps=0.1), L2(eps=0.2)]


def zeros(n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.int64)


def test_wrong_classes_come_by_logit_and_equal_ones_in_order() -> None:
    logits = torch.tensor([[5.0, 1.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 2.0, 9.0], [0.0, 1.0, -torch.inf, 2.0]])
    found = wrong_classes(logits, torch.tensor([0, 2, 3, 3]), most=9)
    assert found.tolist() == [[2, 3, 1], [0, 1, 3], [1, 2, 0], [1, 0, 2]]
    assert wrong_classes(logits, torch.tensor([0, 2, 3, 3]), most=2).tolist() == [[2, 3], [0, 1], [1, 2], [1, 0]]
    # Also where the true class is not the most likely one, or a logit is as low as can be.
    assert wrong_classes(logits[:1], torch.tensor([1]), most=9).tolist() == [[0, 2, 3]]
    assert wrong_classes(torch.full((1, 3), -torch.inf), torch.tensor([1]), most=9).tolist() == [[0, 2]]


class Table(nn.Module):
    """Logits read from the first pixel p: rows of a table at p = 0.5, 0.6, 0.7, ...; the nearest one counts."""

    def __init__(self, *rows: list[float]) -> None:
        super().__init__()
        self.rows, self.seen = torch.tensor(rows, dtype=torch.float64), []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        return self.rows[((x.flatten(1)[:, 0] - 0.5) * 10).round().long()]


def moves_by_class(new_attack: Make, moves: dict[int, float], asked: list[tuple[list[int], bool]]) -> Attack:
    """An inner attack that moves the image by `moves[t]` for each sample that it pushes towards t."""

    def run(model: Any, x: Tensor, aim: Aim) -> Tensor:
        assert aim.reach is not None
        asked.append((aim.reach.tolist(), aim.exact))
        move = torch.tensor([moves.get(int(t), 0.0) for t in aim.reach]).to(x)
        return x + move[:, None]

    return new_attack(run)


def test_each_class_is_tried_on_what_has_not_fallen_yet(new_attack: Make) -> None:
    #                y     1     2     3
    model = Table([9.0, 3.0, 2.0, 1.0], [9.0, 8.0, 7.0, 6.0], [1.0, 0.0, 0.0, 2.0])
    asked: list[tuple[list[int], bool]] = []
    inner = moves_by_class(new_attack, {1: 0.1, 2: 0.2}, asked)
    x = torch.full((2, 2), 0.5, dtype=torch.float64)
    # The second image is of class 1, so it is misclassified from the beginning: it is not attacked at all.
    x_adv = MultiTargeted(attack=inner)(model, x, torch.tensor([0, 1]), threat=Linf(eps=0.5), seed=0)
    # Towards 1 the class stays; towards 2 it falls, though to class 3: any class but y will do. Class 3 is not tried.
    assert asked == [([1], False), ([2], False)]
    torch.testing.assert_close(x_adv, torch.tensor([[0.7, 0.7], [0.5, 0.5]], dtype=torch.float64))
    assert model.seen == [2, 1, 1]


@pytest.mark.parametrize(("classes", "tried"), [(1, 1), (2, 2), (3, 3), (9, 3)])
def test_no_more_classes_are_tried_than_there_are(new_attack: Make, classes: int, tried: int) -> None:
    asked: list[tuple[list[int], bool]] = []
    attack = MultiTargeted(attack=moves_by_class(new_attack, {}, asked), classes=classes)
    x = torch.full((1, 2), 0.5, dtype=torch.float64)
    attack(Table([9.0, 1.0, 3.0, 2.0]), x, zeros(1), threat=Linf(eps=0.5), seed=0)
    assert [reach for reach, _ in asked] == [[2], [3], [1]][:tried]


def test_where_nothing_falls_the_largest_lead_over_all_classes_is_kept(new_attack: Make) -> None:
    # Leads -6, then -5 (of class 1), -1 (of class 3), -4: the second try is the best, though not for its own class.
    model = Table([9.0, 3.0, 2.0, 1.0], [9.0, 4.0, 0.0, 0.0], [9.0, 0.0, 0.0, 8.0], [9.0, 0.0, 0.0, 5.0])
    inner = moves_by_class(new_attack, {1: 0.1, 2: 0.2, 3: 0.3}, [])
    x = torch.full((1, 2), 0.5, dtype=torch.float64)
    x_adv = MultiTargeted(attack=inner)(model, x, zeros(1), threat=Linf(eps=0.5), seed=0)
    torch.testing.assert_close(x_adv, x + 0.2)


def test_a_point_that_helps_the_model_gives_way_to_the_clean_image(new_attack: Make) -> None:
    inner = moves_by_class(new_attack, {1: 0.1, 2: 0.1}, [])
    x = torch.full((1, 2), 0.5, dtype=torch.float64)
    x_adv = MultiTargeted(attack=inner)(Table([9.0, 3.0, 2.0], [19.0, 3.0, 2.0]), x, zeros(1), threat=Linf(eps=0.5), seed=0)
    assert torch.equal(x_adv, x)


def test_a_tie_that_is_won_beats_one_that_is_not(new_attack: Make) -> None:
    # Class 1 wins ties against class 2: leads are 0 both times, yet only the image of class 2 is misclassified.
    model = Table([0.0, 1.0, 1.0], [0.0, 1.0, 1.0])
    x = torch.full((2, 2), 0.5, dtype=torch.float64)
    inner = moves_by_class(new_attack, {0: 0.1, 1: 0.1, 2: 0.1}, [])
    x_adv = MultiTargeted(attack=inner)(model, x, torch.tensor([1, 2]), threat=Linf(eps=0.5), seed=0)
    assert torch.equal(x_adv, x)  # nothing better was found for the first, nothing was looked for for the second


class Trap(nn.Module):
    """Class 1 is ahead of class 2 everywhere near the image but cannot be reached; class 2 can, through a valley."""

    def forward(self, x: Tensor) -> Tensor:
        p = x.flatten(1).sum(1) - x[0].numel() / 2
        return torch.stack([0 * p, -1 - 2 * p.clamp(min=0), -3 + 12 * p, 0 * p - 90], 1)


@pytest.mark.parametrize("threat", [Linf(eps=0.1), L2(eps=0.2)], ids=["linf", "l2"])
def test_it_gets_where_a_push_away_from_the_class_does_not(threat: Any) -> None:
    x = torch.full((3, 1, 2, 2), 0.5, dtype=torch.float64)
    inner = PGD(steps=20, random_start=False, gradient=InputGradient(loss=LEAD))
    assert (Trap()(inner(Trap(), x, zeros(3), threat=threat, seed=0)).argmax(1) == 0).all()
    for attack in (MultiTargeted(attack=inner), mt_pgd(), apgd_t(steps=20)):
        assert (Trap()(attack(Trap(), x, zeros(3), threat=threat, seed=0)).argmax(1) == 2).all()
    assert (Trap()(mt_pgd(classes=1)(Trap(), x, zeros(3), threat=threat, seed=0)).argmax(1) == 0).all()


@pytest.mark.parametrize("threat", [Linf(eps=0.05), L2(eps=0.15)], ids=["linf", "l2"])
def test_it_is_never_weaker_than_any_of_its_runs(threat: Any, smooth: nn.Module, images: Make) -> None:
    x = images(60)
    y = smooth(x).argmax(1)
    inner = PGD(steps=5, early_stop=True)
    whole = smooth(MultiTargeted(attack=inner)(smooth, x, y, threat=threat, seed=5))
    fell = Aim(y).reached(whole)
    ranked = wrong_classes(smooth(x), y, most=9)
    alone = []
    for k in range(3):
        logits = smooth(inner.run(smooth, x, Aim(y, ranked[:, k]), threat, rng.derive(5, "class", k)))
        alone.append(Aim(y).reached(logits))
        assert (fell | ~alone[-1]).all()
        assert (Aim(y).lead(whole) >= Aim(y).lead(logits) - 1e-12)[~fell].all()
    assert 0 < fell.sum() < 60
    assert all(part.any() for part in alone)


class Recorded(nn.Module):
    """Logits that never move; keeps what it is asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.asked.append(x.detach().clone())
        return x.new_tensor([[3.0, 2.0, 1.0, 0.0]]).expand(len(x), 4) + 0 * x.flatten(1).sum(1, keepdim=True)


def test_each_run_has_a_start_of_its_own(images: Make) -> None:
    model = Recorded()
    MultiTargeted(attack=PGD(steps=1))(model, images(1), zeros(1), threat=Linf(eps=0.1), seed=0)
    starts = torch.cat(model.asked[1::2])  # the clean image, then a start and an end for each class
    assert len(model.asked) == 7
    assert len(starts.flatten(1).unique(dim=0)) == 3


class Coin(nn.Module):
    """Every look adds noise of its own; on average classes 1 and 2 gain along the pixels, and neither ever gets ahead."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    def forward(self, x: Tensor) -> Tensor:
        self.looks += 1
        rise = x.flatten(1).sum(1) - 2
        noise = 4 * torch.randn(len(x), 2, dtype=x.dtype)
        return torch.stack([0 * rise, rise - 1.5 + noise[:, 0], 3 * rise - 2.5 + noise[:, 1]], 1)


def test_a_single_look_at_a_random_model_proves_nothing() -> None:
    x, threat = torch.full((60, 1, 2, 2), 0.5, dtype=torch.float64), Linf(eps=0.1)
    sober, lucky = Coin(), Coin()
    inner = PGD(steps=4, random_start=False, gradient=InputGradient(loss=LEAD, draws=60))
    x_adv = MultiTargeted(attack=inner)(sober, x, zeros(60), threat=threat, seed=0)
    # All the way up for nearly everyone, and both classes tried by all: (1 clean + 2 x (4 steps + 1)) looks of 60 draws.
    assert float((x_adv - x).flatten(1).mean()) > 0.07
    assert sober.looks == 60 * 11
    believing = PGD(steps=4, random_start=False, early_stop=True, gradient=InputGradient(loss=LEAD))
    x_adv = MultiTargeted(attack=believing)(lucky, x, zeros(60), threat=threat, seed=0)
    # Believing single looks, many are "won" on the clean image already.
    assert float((x_adv - x).flatten(1).mean()) < 0.04


def test_with_draws_the_largest_mean_lead_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Attack, "_members", dict(Attack.members()))

    class Drawing(Attack, kind="drawing"):
        draws: int = 4

        def run(self, model: Any, x: Tensor, aim: Aim, threat: Any, seed: int) -> Tensor:
            return x + 0.1 * aim.reach[:, None]

    class Alternating(nn.Module):
        """Over an even number of draws the noise cancels; each look alone may show class 1 ahead at the clean image."""

        def __init__(self) -> None:
            super().__init__()
            self.sign = 1.0

        def forward(self, x: Tensor) -> Tensor:
            self.sign = -self.sign
            mean = Table([9.0, 3.0, 2.0, 1.0], [9.0, 8.0, 0.0, 0.0], [1.0, 0.0, 2.0, 0.0], [1.0, 0.0, 0.0, 6.0])(x)
            return mean + 50 * self.sign * torch.tensor([0.0, 1.0, 1.0, 1.0], dtype=torch.float64)

    x = torch.full((1, 2), 0.5, dtype=torch.float64)
    x_adv = MultiTargeted(attack=Drawing())(Alternating(), x, zeros(1), threat=Linf(eps=0.5), seed=0)
    torch.testing.assert_close(x_adv, x + 0.3)  # not the first success, at 0.2, but the one with the lead of 5


@pytest.mark.parametrize("threat", THREATS, ids=["linf", "l2"])
def test_a_targeted_call_is_one_run_of_the_inner_attack(threat: Any, smooth: nn.Module, images: Make) -> None:
    x = images(8)
    y = smooth(x).argmax(1)
    targets = (y + 1) % 4
    for attack in (mt_pgd(), apgd_t(steps=10)):
        ours = attack(smooth, x, y, threat=threat, seed=3, targets=targets)
        assert torch.equal(ours, attack.attack(smooth, x, y, threat=threat, seed=3, targets=targets))
        drawn = attack.model_copy(update={"target": "random"})(smooth, x, y, threat=threat, seed=3)
        inner = attack.attack.model_copy(update={"target": "random"})(smooth, x, y, threat=threat, seed=3)
        assert torch.equal(drawn, inner)


@pytest.mark.parametrize("exact", [False, True])
def test_below_four_classes_the_numerator_of_the_dlr_stands_in(exact: bool, linear: Make, images: Make) -> None:
    w = torch.randn(3, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    model, x = linear(w), images(6)
    y = model(x).argmax(1)
    targets = (y + 1) % 3 if exact else None
    for norm in (Linf(eps=0.05), L2(eps=0.1)):
        by_dlr = apgd_t(steps=5)(model, x, y, threat=norm, seed=1, targets=targets)
        by_lead = MultiTargeted(attack=APGD(steps=5, early_stop=True, gradient=InputGradient(loss=LEAD)))
        assert torch.equal(by_dlr, by_lead(model, x, y, threat=norm, seed=1, targets=targets))
        assert not torch.equal(by_dlr, x)


def test_two_classes_are_enough(linear: Make, images: Make) -> None:
    w = torch.randn(8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model, x = linear(torch.stack([0 * w, w]), torch.tensor([0.0, -100.0], dtype=torch.float64)), images(4)
    rise = (apgd_t(steps=60)(model, x, zeros(4), threat=Linf(eps=0.1), seed=0) - x).flatten(1) @ w
    torch.testing.assert_close(rise, (0.1 * w.abs().sum()).expand(4))


def test_the_members_by_name() -> None:
    assert apgd_t() == MultiTargeted() == Attack.parse("apgd-t")
    assert apgd_t().attack == APGD(steps=100, early_stop=True, gradient=InputGradient(loss=DLR()))
    rule = BPTT(surrogate=Triangle(gamma=2.0))
    mine = apgd_t(
        steps=7, classes=3, restarts=2, gradient=InputGradient(rule=rule, draws=5, loss=CrossEntropy()), target="random"
    )
    expected = APGD(steps=7, restarts=2, gradient=InputGradient(rule=rule, draws=5, loss=DLR()))
    assert mine == MultiTargeted(attack=expected, classes=3, target="random")
    margin = mt_pgd(steps=8, step_fraction=0.5, gradient=InputGradient(loss=DLR()))
    assert margin.attack == PGD(
        steps=8, step_fraction=0.5, early_stop=True, gradient=InputGradient(loss=Margin(confidence=1e30))
    )
    assert mt_pgd(step_size=0.01).attack.step_size == 0.01
    assert not mt_pgd(gradient=InputGradient(draws=2)).attack.early_stop
    from_words = Attack.parse({"kind": "mt-pgd", "gradient": {"draws": 2}})
    assert from_words.gradient == InputGradient(draws=2, loss=LEAD)


@pytest.mark.parametrize("attack", [apgd_t(steps=3), mt_pgd(classes=2), MultiTargeted(attack=FAB(), target="least-likely")])
def test_json_round_trip(attack: MultiTargeted) -> None:
    back = Attack.parse(json.loads(json.dumps(attack.to_json())))
    assert back == attack
    assert hash(back) == hash(attack)


def test_its_gradient_and_its_bounds_are_the_inner_attacks() -> None:
    gradient = InputGradient(rule=BPTT(surrogate=Triangle(gamma=2.0)), draws=3)
    attack = MultiTargeted(attack=PGD(gradient=gradient))
    assert attack.gradient == gradient
    assert attack.bounded
    plain = attack.with_rule(None)
    assert plain == MultiTargeted(attack=PGD(gradient=InputGradient(draws=3)))
    noise = MultiTargeted(attack=UniformNoise())
    assert noise.gradient is None
    assert not noise.bounded
    assert noise.with_rule(BPTT()) == noise


def test_it_may_hold_an_attack_that_is_not_bounded(linear: Make, images: Make) -> None:
    w = torch.randn(4, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    model, x = linear(10 * w), images(8)
    y = model(x).argmax(1)
    x_adv = MultiTargeted(attack=CW(steps=40, learning_rate=0.05))(model, x, y, threat=Linf(eps=0.0), seed=0)
    assert (model(x_adv).argmax(1) != y).all()


@pytest.mark.parametrize("early_stop", [False, True])
@pytest.mark.parametrize("threat", THREATS, ids=["linf", "l2"])
def test_the_size_of_the_batch_changes_no_bit(threat: Any, early_stop: bool, images: Make) -> None:
    class Curved(nn.Module):
        """Logits whose arithmetic is the same for an image in any batch."""

        def forward(self, x: Tensor) -> Tensor:
            w = torch.randn(4, x[0].numel(), generator=torch.Generator().manual_seed(1), dtype=x.dtype)
            return (torch.sin(5 * x.flatten(1))[:, None, :] * w).sum(-1)

    x = images(12)
    y = Curved()(x).argmax(1)
    inner = APGD(steps=8, early_stop=early_stop, gradient=InputGradient(loss=DLR()))
    for attack in (MultiTargeted(attack=inner, classes=2), mt_pgd(steps=4)):
        whole = attack(Curved(), x, y, threat=threat, seed=3)
        for size in (1, 5):
            parts = zip(x.split(size), y.split(size), strict=True)
            assert torch.equal(torch.cat([attack(Curved(), a, b, threat=threat, seed=3) for a, b in parts]), whole)
        assert not torch.equal(attack(Curved(), x, y, threat=threat, seed=4), whole)


@pytest.mark.parametrize("threat", THREATS, ids=["linf", "l2"])
def test_a_constant_model_and_a_radius_of_zero_give_nothing_to_do(threat: Any, images: Make) -> None:
    for attack in (apgd_t(steps=5), mt_pgd(steps=5)):
        x = images(3)
        assert torch.equal(attack(Recorded(), x, zeros(3), threat=threat, seed=0), x)  # no point is better than the image
        still = threat.model_copy(update={"eps": 0.0})
        assert torch.equal(attack(Recorded(), x, zeros(3), threat=still, seed=0), x)


def test_soft_labels_stand_for_their_most_likely_class(smooth: nn.Module, images: Make) -> None:
    x = images(6)
    y = smooth(x).argmax(1)
    soft = 0.7 * nn.functional.one_hot(y, 4).double() + 0.3 / 4
    hard = mt_pgd(steps=4)(smooth, x, y, threat=Linf(eps=0.1), seed=0)
    assert torch.equal(mt_pgd(steps=4)(smooth, x, soft, threat=Linf(eps=0.1), seed=0), hard)


@pytest.mark.parametrize("wrong", [{"classes": 0}, {"attack": "pgf"}, {"steps": 5}, {"attack": {"kind": "pgd", "steps": 0}}])
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        Attack.parse({"kind": "multi-targeted", **wrong})


def test_a_target_belongs_outside() -> None:
    with pytest.raises(RequestError, match="to the multi-targeted attack"):
        Attack.parse({"kind": "multi-targeted", "attack": {"kind": "pgd", "target": "random"}})
