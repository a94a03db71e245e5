"""Each suspicion: what raises it, and what lies just below."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from snnguard.evaluation import Entry, gather, suites
from snnguard.evaluation.checks import CHECKS, examine
from snnguard.record import AttackResult, Flags, Record


def flags(hits: int, total: int = 1000) -> Flags:
    return Flags(tuple(i < hits for i in range(total)))


def result(
    name: str, hits: int | Flags, *, total: int = 1000, draws: int = 1, steps: int = 1, rule: str | None = None,
    radius: float = 1.0, attacked: int | None = None,
) -> AttackResult:  # fmt: skip
    rule = name.partition("/")[2] if rule is None else rule
    attack = {"kind": "pgd", "steps": steps, "bounded": True}
    correct = flags(hits, total) if isinstance(hits, int) else hits
    return AttackResult(name=name, attack=attack, rule=rule, correct=correct, seed=0, seconds=0.0, draws=draws, radius=radius,
                        attacked=attacked)  # fmt: skip


def judged(*results: AttackResult, stochastic: bool = False, suite: str = "toy", **measures: float) -> Record:
    names = {name.replace("__", "/").replace("_", "-"): value for name, value in measures.items()}
    return Record(
        name="toy", threat={"kind": "linf", "eps": 0.1, "low": 0.0, "high": 1.0}, suite=suite, labels=(), clean=flags(900),
        attacks=results, suspicions=(), provenance=gather(seed=0), stochastic=stochastic, measures=names,
    )  # fmt: skip


def codes(*results: AttackResult, **evidence: Any) -> list[str]:
    raised, passed = examine(judged(*results, **evidence))
    assert all(s.measured > s.limit and s.raised for s in raised)
    assert not any(s.raised for s in passed)
    return [s.code for s in raised]


def healthy() -> tuple[AttackResult, ...]:
    return (
        result("fgsm/bptt", 500), result("pgd-7/bptt", 300, steps=7), result("pgd-20/bptt", 260, steps=20),
        result("pgd-100/bptt", 250, steps=100), result("pgd-20@2/bptt", 90, steps=20, radius=2),
        result("pgd-20@range/bptt", 0, steps=20, radius=10),
        result("fgsm/rate", 600), result("pgd-7/rate", 450, steps=7), result("pgd-40/rate", 420, steps=40),
        result("random-search", 850, rule=""), result("square", 280, rule=""), result("transfer-twin", 700, rule=""),
        result("gaussian", 880, rule=""),
    )  # fmt: skip


MEASURED = {
    "zero_gradient__bptt": 0.04, "zero_gradient__rate": 0.0, "forward_gap__rate": 0.0, "cosine__bptt~rate": 0.3,
    "gradient_stops__body.3": 0.05, "state_gap": 1e-6, "mode_gap": 0.0, "blind_in_eval": 0.0, "probabilities": 0.0,
    "saturated": 0.01, "loss_stays": 0.02, "dead_channels": 0.2, "outside_window": 0.8,
}  # fmt: skip


def test_a_healthy_model_raises_nothing_and_passes_everything() -> None:
    assert codes(*healthy(), **MEASURED) == []
    _, passed = examine(judged(*healthy(), **MEASURED))
    assert {s.code for s in passed} == set(CHECKS) - {
        "one-draw",
        "few-steps",
        "less-than-named",
    }  # not random, no APGD, no suite


def test_what_was_not_measured_is_neither_raised_nor_passed() -> None:
    assert examine(judged()) == ((), ())


@pytest.mark.parametrize(
    ("name", "just", "beyond"),
    [
        ("zero_gradient__bptt", 0.05, 0.06),
        ("gradient_stops__body.3", 0.05, 0.07),
        ("loss_stays", 0.05, 0.06),
        ("saturated", 0.05, 0.06),
        ("dead_channels", 0.5, 0.51),
        ("outside_window", 0.98, 0.99),
        ("forward_gap__rate", 0.0, 1e-7),
        ("state_gap", 1e-3, 2e-3),
        ("mode_gap", 1e-3, 2e-3),
        ("blind_in_eval", 0.05, 0.06),
        ("probabilities", 0.5, 0.51),
        ("cosine__bptt~rate", 0.011, 0.009),
    ],
)
def test_measures_and_their_limits(name: str, just: float, beyond: float) -> None:
    assert codes(**{name: just}) == []
    [code] = codes(**{name: beyond})
    renamed = {"outside_window": "narrow-window", "cosine__bptt~rate": "rules-disagree", "forward_gap__rate": "forward-differs",
               "state_gap": "state-leaks", "mode_gap": "modes-differ"}  # fmt: skip
    assert code == renamed.get(name, name.partition("__")[0].replace("_", "-"))


def test_each_rule_is_looked_at() -> None:
    assert codes(zero_gradient__bptt=0.06, zero_gradient__rate=1.0) == ["zero-gradient"] * 2


def test_fgsm_beats_pgd() -> None:
    assert codes(result("fgsm/bptt", 300), result("pgd-7/bptt", 309, steps=7)) == []
    assert codes(result("fgsm/bptt", 300), result("pgd-7/bptt", 311, steps=7)) == ["fgsm-beats-pgd"]
    assert codes(result("fgsm/bptt", 300), result("bim-7/bptt", 400, steps=7)) == ["fgsm-beats-pgd"]
    assert codes(result("fgsm/bptt", 300), result("pgd-7/rate", 400, steps=7)) == []


def test_a_few_images_prove_nothing() -> None:
    few = {"total": 20}
    one = result("fgsm/bptt", 5, **few)
    small = Record(**{**vars(judged()), "clean": flags(18, 20), "attacks": (one, result("pgd-7/bptt", 8, steps=7, **few))})
    assert examine(small)[0] == ()
    small = Record(**{**vars(small), "attacks": (one, result("pgd-7/bptt", 9, steps=7, **few))})
    assert [s.code for s in examine(small)[0]] == ["fgsm-beats-pgd"]


def test_more_steps_that_do_not_help() -> None:
    assert codes(result("pgd-7/bptt", 300, steps=7), result("pgd-40/bptt", 309, steps=40)) == []
    assert codes(result("pgd-7/bptt", 300, steps=7), result("pgd-40/bptt", 320, steps=40)) == ["steps-do-not-help"]
    assert codes(result("pgd-7/bptt", 300, steps=7), result("pgd-40/rate", 320, steps=40)) == []


def test_steps_that_still_help_after_twenty() -> None:
    assert codes(result("pgd-20/bptt", 300, steps=20), result("pgd-100/bptt", 271, steps=100)) == []
    assert codes(result("pgd-20/bptt", 300, steps=20), result("pgd-100/bptt", 269, steps=100)) == ["not-converged"]
    assert codes(result("pgd-7/bptt", 300, steps=7), result("pgd-40/bptt", 100, steps=40)) == []


def test_a_larger_ball_may_not_leave_more() -> None:
    near = result("pgd-20/bptt", 300, steps=20)
    assert codes(near, result("pgd-20@2/bptt", 309, steps=20, radius=2)) == []
    assert codes(near, result("pgd-20@2/bptt", 311, steps=20, radius=2)) == ["larger-radius-weaker"]


def test_the_whole_range_leaves_nothing() -> None:
    assert codes(result("pgd-100@range/bptt", 50, steps=100, radius=10)) == []
    assert codes(result("pgd-100@range/bptt", 51, steps=100, radius=10)) == ["unbounded-survives"]
    assert codes(result("pgd-100@4/bptt", 500, steps=100, radius=4)) == []


def test_apgd_with_few_steps() -> None:
    def apgd(steps: int) -> AttackResult:
        return replace(result("apgd-ce/bptt", 300), attack={"kind": "apgd", "steps": steps, "bounded": True})

    assert codes(apgd(50)) == []
    assert codes(apgd(49)) == ["few-steps"]
    inside = {"kind": "multi-targeted", "attack": {"kind": "apgd", "steps": 10}, "bounded": True}
    assert codes(replace(apgd(1), attack=inside)) == ["few-steps"]
    several = {"kind": "ensemble", "attacks": [{"kind": "square", "queries": 9}, inside], "bounded": True}
    assert codes(replace(apgd(1), attack=several)) == ["few-steps"]


def of_entries(entries: Sequence[Entry], draws: int = 1) -> list[AttackResult]:
    """What a suite would leave in a record."""
    return [
        replace(result(e.name, 300), attack=e.attack.to_json(), draws=draws, radius=10.0 if e.radius is None else e.radius)
        for e in entries
    ]


@pytest.mark.parametrize("name", sorted(suites.SUITES))
@pytest.mark.parametrize("draws", [1, 5])
def test_a_suite_is_what_its_name_says(name: str, draws: int) -> None:
    run = of_entries(suites.SUITES[name](suites.Attacker(draws=draws)).entries, draws)
    # What a defense adds and what is crafted on a substitute stand in for nothing.
    extra = [replace(one, name=f"{added}-1", rule="own") for one in run for added in ("adaptive", "transfer")]
    assert "less-than-named" not in codes(*run, suite=name)
    assert "less-than-named" in codes(*run[1:], suite=name)
    assert "less-than-named" not in codes(*run, *extra, suite=name)
    assert "less-than-named" in codes(*run[1:], *extra, suite=name)


def test_a_longer_suite_is_what_its_name_says_and_a_shorter_one_is_not() -> None:
    longer, shorter = (suites.spike(suites.Attacker(), steps=steps, queries=100 * steps).entries for steps in (200, 40))
    assert codes(*of_entries(longer), suite="spike") == []
    [said] = [s for s in examine(judged(*of_entries(shorter), suite="spike"))[0] if s.code == "less-than-named"]
    assert said.measured == 22
    assert "6 x multi-targeted apgd (100)" in said.message
    assert "1 x square (5000)" in said.message


@pytest.mark.parametrize("other", ["rate", "bptt(surrogate=sigmoid(alpha=8.0))"])
def test_another_rule_is_stronger(other: str) -> None:
    assert codes(result("pgd-7/bptt", 300, steps=7), result(f"pgd-7/{other}", 291, steps=7, rule=other)) == []
    assert codes(result("pgd-7/bptt", 300, steps=7), result(f"pgd-7/{other}", 280, steps=7, rule=other)) == [
        "other-rule-stronger"
    ]
    assert codes(result("pgd-7/bptt", 300, steps=7), result(f"pgd-40/{other}", 280, steps=40, rule=other)) == []


@pytest.mark.parametrize(
    ("name", "code"),
    [("square", "black-box-stronger"), ("transfer-twin", "black-box-stronger"), ("random-search", "random-search-stronger")],
)
def test_what_only_a_blind_attack_breaks(name: str, code: str) -> None:
    white = result("pgd-20/bptt", 300, steps=20)
    # Of the 300 that stand under PGD; how many it breaks of the others is of no interest.
    assert codes(white, result(name, Flags(tuple(10 <= i < 300 for i in range(1000))), rule="")) == []
    assert codes(white, result(name, Flags(tuple(11 <= i < 900 for i in range(1000))), rule="")) == [code]
    assert codes(result(name, 0, rule="")) == []  # nothing to compare it with


def test_the_columns_of_a_cascade_are_not_compared() -> None:
    left = result("pgd-7/bptt", 311, steps=7, attacked=400)
    assert codes(result("fgsm/bptt", 300), left) == []
    assert codes(result("fgsm/bptt", 300, attacked=900), result("pgd-7/bptt", 311, steps=7, attacked=900)) == ["fgsm-beats-pgd"]


def test_random_models_need_draws() -> None:
    assert codes(result("fgsm/bptt", 300, draws=10), stochastic=True) == []
    assert codes(result("gaussian", 300, rule=""), stochastic=True) == []
    assert codes(result("fgsm/bptt", 300), stochastic=True) == ["one-draw"]
    assert codes(result("fgsm/bptt", 300), stochastic=False) == []


def test_every_suspicion_has_its_paragraph() -> None:
    text = (Path(__file__).parents[2] / "docs" / "suspicions.md").read_text()
    assert {line.removeprefix("## ").strip() for line in text.splitlines() if line.startswith("## ")} == set(CHECKS)
