"""Suites: exactly the attacks that the papers report, each name once."""

import pytest

from snnguard.attacks import CW, PGD, GaussianNoise, InputGradient, UniformNoise, fgsm
from snnguard.errors import RequestError, UnknownName
from snnguard.evaluation import Attacker, Entry, Suite, suite, suites
from snnguard.evaluation.suite import rule_name
from snnguard.neurons import BPTT, RateGradient, Sigmoid

GRADIENT_ATTACKS = ["fgsm", "rfgsm", "bim-7", "pgd-7", "pgd-10", "pgd-20", "pgd-40", "cw"]


PAPER, QUICK = suite("paper"), suite("quick")


def test_the_paper_suite_is_the_one_of_the_issue_under_both_rules() -> None:
    entries = {entry.name: entry for entry in PAPER.entries}
    expected = {f"{name}/{rule}" for name in GRADIENT_ATTACKS for rule in ("bptt", "rate")} | {"gaussian", "uniform"}
    assert set(entries) == expected
    assert len(PAPER.entries) == 18
    for rule in (BPTT(), RateGradient()):
        for name in GRADIENT_ATTACKS:
            assert entries[f"{name}/{rule.kind}"].gradient == InputGradient(rule=rule)
        for steps in (7, 10, 20, 40):
            attack = entries[f"pgd-{steps}/{rule.kind}"].attack
            assert isinstance(attack, PGD)
            assert attack.steps == steps
            assert attack.random_start
            assert attack.step_fraction * 8 / 255 == pytest.approx(0.01)
        bim = entries[f"bim-7/{rule.kind}"].attack
        assert (bim.steps, bim.random_start) == (7, False)
        assert bim.step_fraction * 8 / 255 == pytest.approx(0.01)
        one = entries[f"fgsm/{rule.kind}"].attack
        assert (one.steps, one.step_fraction, one.random_start) == (1, 1.0, False)
        half = entries[f"rfgsm/{rule.kind}"].attack
        assert (half.steps, half.step_fraction, half.start) == (1, 0.5, "half-sign")
        assert entries[f"cw/{rule.kind}"].attack == CW(c=0.5, steps=10, learning_rate=0.01, gradient=InputGradient(rule=rule))
    assert entries["gaussian"].attack == GaussianNoise(std=0.1)
    assert entries["uniform"].attack == UniformNoise(radius=0.1)
    assert entries["uniform"].gradient is None


def test_draws_go_into_every_gradient_and_switch_lucky_successes_off() -> None:
    for entry in suite("paper", draws=5).entries:
        if entry.gradient is not None:
            assert entry.gradient.draws == 5
            assert not getattr(entry.attack, "early_stop", False)


def test_by_name() -> None:
    assert suite("paper", draws=3) == suite("paper", draws=3)
    assert suite("quick") == QUICK
    with pytest.raises(UnknownName, match="did you mean 'paper'"):
        suite("papers")


def test_a_name_stands_once() -> None:
    entry = Entry(name="fgsm", attack=fgsm())
    with pytest.raises(ValueError, match="found twice: fgsm"):
        Suite(name="mine", entries=(entry, entry))
    with pytest.raises(RequestError, match="found twice: fgsm"):
        Suite.parse({"name": "mine", "entries": [entry.to_json()] * 2})
    taken = Suite(name="mine", entries=(Entry(name="adaptive-1", attack=fgsm()),))
    with pytest.raises(ValueError, match="found twice: adaptive-1"):
        taken.extended((fgsm(),))


def test_rules_of_one_kind_keep_apart() -> None:
    rules = (BPTT(), BPTT(surrogate=Sigmoid(alpha=3.0)))
    assert [rule_name(rule) for rule in (None, *rules)] == ["own", "bptt", "bptt(surrogate=sigmoid(alpha=3.0))"]
    names = [entry.name for entry in suites.paper(Attacker(), rules=rules).entries]
    assert len(names) == len(set(names)) == 18


def test_required_attacks_are_added() -> None:
    extra = (PGD(steps=3), fgsm())
    extended = QUICK.extended(extra)
    assert [e.name for e in extended.entries[-2:]] == ["adaptive-1", "adaptive-2"]
    assert tuple(e.attack for e in extended.entries[-2:]) == extra
    assert extended.entries[:-2] == QUICK.entries
    assert QUICK.extended(()) == QUICK


def test_without_neurons_each_attack_stands_once_and_has_no_rule() -> None:
    plain = PAPER.without_rules()
    assert [e.name for e in plain.entries] == [*GRADIENT_ATTACKS, "gaussian", "uniform"]
    assert all(e.gradient is None or e.gradient.rule is None for e in plain.entries)
    assert plain.entries[0].attack == fgsm()


def test_round_trip() -> None:
    assert Suite.parse(PAPER.to_json()) == PAPER
