"""The shell: what it refuses from an algorithm, and which class a targeted attack aims at."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnguard.attacks import (
    APGD,
    PGD,
    SPSA,
    Aim,
    Attack,
    Ensemble,
    HopSkipJump,
    InputGradient,
    MultiTargeted,
    Square,
    apgd_t,
    auto_attack,
    fgsm,
)
from snnguard.errors import AttackFault, InvalidInput, RequestError
from snnguard.neurons import ASSG
from snnguard.threat import L2, Linf, Threat

Make = Callable[..., Any]


@pytest.fixture
def run(new_attack: Make) -> Make:
    """Runs `what` on the images as if it were the algorithm of an attack."""

    def run(what: Callable[[Tensor], Tensor], x: Tensor, threat: Threat | None = None, bounded: bool = True) -> Tensor:
        attack = new_attack(lambda model, x, aim: what(x), bounded=bounded)
        y = torch.zeros(len(x), dtype=torch.int64)
        return attack(lambda x: x.flatten(1), x, y, threat=threat or Linf(eps=0.1), seed=0)

    return run


FAULTS = {
    "too far": lambda x: x + 0.15,
    "one pixel too far": lambda x: x + 0.2 * torch.eye(8).reshape(8, 2, 2, 2)[:1],
    "out of range": lambda x: x * 0 - 0.05,
    "not a number": lambda x: x * torch.nan,
    "another shape": lambda x: x[:, :1],
    "fewer images": lambda x: x[:1],
    "another type": lambda x: x.double(),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_algorithm_that_breaks_its_promise_is_a_fault(run: Make, fault: str) -> None:
    with pytest.raises(AttackFault):
        run(FAULTS[fault], torch.full((2, 2, 2, 2), 0.05))


def test_an_l2_attack_may_not_use_the_box(run: Make) -> None:
    x = torch.full((1, 2, 2, 2), 0.5)
    with pytest.raises(AttackFault, match=r"0\.283"):  # 0.1 * sqrt(8)
        run(lambda x: x + 0.1, x, L2(eps=0.1))


def test_rounding_is_forgiven_and_removed(run: Make) -> None:
    x = torch.full((2, 2, 2, 2), 0.5)
    assert (run(lambda x: x + 0.10005, x) - x).abs().max() <= 0.1 + 1e-7


def test_an_unbounded_attack_keeps_to_the_range_alone(run: Make) -> None:
    x = torch.full((2, 2, 2, 2), 0.5)
    assert torch.equal(run(lambda x: x + 0.3, x, bounded=False), torch.full_like(x, 0.8))
    assert torch.equal(run(lambda x: x + 3, x, bounded=False), torch.ones_like(x))


def test_the_range_of_the_threat_is_the_range_of_the_images(linear: Make) -> None:
    model, x = linear(torch.tensor([[0.0, 0.0], [1.0, -1.0]])), torch.tensor([[-1.0, 1.0], [0.9, 0.0]])
    x_adv = fgsm()(model, x, torch.tensor([0, 0]), threat=Linf(eps=0.25, low=-1, high=1), seed=0)
    torch.testing.assert_close(x_adv, torch.tensor([[-0.75, 0.75], [1.0, -0.25]]))


@pytest.mark.parametrize("target", ["random", "least-likely"])
def test_a_target_is_another_class(target: str, smooth: nn.Module, images: Make, new_attack: Make) -> None:
    x, aims = images(200), []
    logits = smooth(x)

    def spy(model: object, x: Tensor, aim: Aim) -> Tensor:
        assert aim.exact
        aims.append(aim.reach)
        return x

    attack = new_attack(spy, target=target)
    for y in (logits.argmax(1), logits.argmin(1)):
        attack(smooth, x, y, threat=Linf(eps=0.1), seed=3)
        assert (aims[-1] != y).all()
    if target == "least-likely":
        assert torch.equal(aims[0], logits.argmin(1))
        assert torch.equal(aims[1], logits.argsort(1)[:, 1])  # the least likely itself is the label
    else:
        # Each of the three other classes about equally often: 200 draws, 4 standard deviations of a binomial.
        shift = (aims[0] - logits.argmax(1)) % 4
        counts = torch.bincount(shift, minlength=4)
        assert counts[0] == 0
        assert ((counts[1:] - 200 / 3).abs() < 4 * (200 * (1 / 3) * (2 / 3)) ** 0.5).all()
        attack(smooth, x[50:60], logits.argmax(1)[50:60], threat=Linf(eps=0.1), seed=3)
        assert torch.equal(aims[-1], aims[0][50:60])
        attack(smooth, x, logits.argmax(1), threat=Linf(eps=0.1), seed=4)
        assert not torch.equal(aims[-1], aims[0])


def test_targeted_attacks_reach_their_target_on_a_linear_model(linear: Make, images: Make) -> None:
    # Each logit is a pixel in [0.3, 0.7]: with 0.3 down for one and 0.3 up for another, every class is in reach.
    model, x = linear(torch.eye(4, 8, dtype=torch.float64)), images(20)
    y = model(x).argmax(1)
    for target in ("random", "least-likely"):
        attack = PGD(steps=40, step_fraction=0.1, random_start=False, target=target)
        reached = model(attack(model, x, y, threat=Linf(eps=0.3), seed=1)).argmax(1)
        assert (reached != y).all()
    assert torch.equal(reached, model(x).argmin(1))


def test_named_targets_win_over_the_setting(smooth: nn.Module, images: Make) -> None:
    x, y = images(4), torch.tensor([0, 1, 2, 3])
    aim = torch.tensor([1, 2, 3, 0], dtype=torch.int32)
    attacked = fgsm(target="random")(smooth, x, y, threat=Linf(eps=0.1), seed=0, targets=aim)
    assert torch.equal(attacked, fgsm()(smooth, x, y, threat=Linf(eps=0.1), seed=9, targets=aim.long()))
    with pytest.raises(InvalidInput, match="labels"):
        fgsm()(smooth, x, y, threat=Linf(eps=0.1), seed=0, targets=aim[:2])


def test_a_targeted_attack_needs_a_second_class(linear: Make) -> None:
    with pytest.raises(InvalidInput, match="two classes"):
        fgsm(target="random")(linear(torch.ones(1, 2)), torch.rand(1, 2), torch.tensor([0]), threat=Linf(eps=0.1), seed=0)


def test_labels_beyond_the_classes_are_named_before_a_target_is_chosen(smooth: nn.Module, images: Make) -> None:
    with pytest.raises(InvalidInput, match="0 to 3; found 0 to 9"):
        fgsm(target="least-likely")(smooth, images(2), torch.tensor([0, 9]), threat=Linf(eps=0.1), seed=0)


@pytest.mark.parametrize(
    ("attack", "thins"),
    [
        (PGD(early_stop=True), True),
        (PGD(), False),
        (fgsm(), False),
        (
            APGD(early_stop=True, gradient=InputGradient(rule=ASSG())),
            False,
        ),  # keeps more than images
        (apgd_t(), True),
        (apgd_t(gradient=InputGradient(rule=ASSG())), False),
        (apgd_t(gradient=InputGradient(draws=2)), False),
        (auto_attack(), True),
        (auto_attack(gradient=InputGradient(rule=ASSG())), False),
        (auto_attack(version="rand"), False),
        (Square(), True),
        (Square(early_stop=False), False),
        (SPSA(), False),
        (MultiTargeted(attack=SPSA()), False),
        (Ensemble(attacks=(PGD(), SPSA())), False),
        (Ensemble(attacks=(PGD(), Square())), True),
        (MultiTargeted(attack=Ensemble(attacks=(APGD(gradient=InputGradient(rule=ASSG())),))), False),
        (HopSkipJump(), False),
    ],
    ids=str,
)
def test_which_attacks_gain_from_several_batches_at_once(attack: Attack, thins: bool) -> None:
    assert attack.thins_out is thins


def test_a_plain_function_can_be_attacked() -> None:
    weight = torch.tensor([1.0, -2.0])
    x = torch.full((1, 2), 0.5)
    x_adv = fgsm()(lambda x: torch.stack([x @ weight, -x @ weight], 1), x, torch.tensor([0]), threat=Linf(eps=0.1), seed=0)
    torch.testing.assert_close(x_adv, torch.tensor([[0.4, 0.6]]))


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(RequestError, match="'fgsm'"):
        Attack.parse("fgms")
