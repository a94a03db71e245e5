"""Each suspicion: what raises it, and what lies just below."""

from typing import Any

import pytest

from snnguard.evaluation.checks import CHECKS, Evidence, suspicions
from snnguard.record import AttackResult, Flags


def flags(hits: int, total: int = 1000) -> Flags:
    return Flags(tuple(i < hits for i in range(total)))


def result(name: str, hits: int, *, total: int = 1000, draws: int = 1, steps: int = 1, rule: str | None = None) -> AttackResult:
    rule = name.partition("/")[2] if rule is None else rule
    attack = {"kind": "pgd", "steps": steps, "bounded": True}
    return AttackResult(name=name, attack=attack, rule=rule, correct=flags(hits, total), seed=0, seconds=0.0, draws=draws)


def codes(*results: AttackResult, **evidence: Any) -> list[str]:
    nothing: dict[str, Any] = {"zero_gradients": {}, "forward_gap": {}, "stochastic": False}
    found = suspicions(Evidence(clean=flags(900), results=results, **(nothing | evidence)))
    assert all(s.measured > s.limit or s.code == "one-draw" for s in found)
    return [s.code for s in found]


def healthy() -> tuple[AttackResult, ...]:
    return (
        result("fgsm/bptt", 500), result("pgd-7/bptt", 300, steps=7), result("pgd-40/bptt", 250, steps=40),
        result("fgsm/rate", 600), result("pgd-7/rate", 450, steps=7), result("pgd-40/rate", 420, steps=40),
        result("gaussian", 880, rule=""),
    )  # fmt: skip


def test_a_healthy_model_raises_nothing() -> None:
    assert codes(*healthy(), zero_gradients={"bptt": 0.04, "rate": 0.0}, forward_gap={"rate": 0.0}) == []


def test_zero_gradients() -> None:
    assert codes(zero_gradients={"bptt": 0.05}) == []
    assert codes(zero_gradients={"bptt": 0.06, "rate": 1.0}) == ["zero-gradient"] * 2


def test_fgsm_beats_pgd() -> None:
    assert codes(result("fgsm/bptt", 300), result("pgd-7/bptt", 309, steps=7)) == []
    assert codes(result("fgsm/bptt", 300), result("pgd-7/bptt", 311, steps=7)) == ["fgsm-beats-pgd"]
    assert codes(result("fgsm/bptt", 300), result("bim-7/bptt", 400, steps=7)) == ["fgsm-beats-pgd"]
    assert codes(result("fgsm/bptt", 300), result("pgd-7/rate", 400, steps=7)) == []


def test_a_few_images_prove_nothing() -> None:
    few = {"total": 20}
    assert codes(result("fgsm/bptt", 5, **few), result("pgd-7/bptt", 8, steps=7, **few)) == []
    assert codes(result("fgsm/bptt", 5, **few), result("pgd-7/bptt", 9, steps=7, **few)) == ["fgsm-beats-pgd"]


def test_more_steps_that_do_not_help() -> None:
    assert codes(result("pgd-7/bptt", 300, steps=7), result("pgd-40/bptt", 309, steps=40)) == []
    assert codes(result("pgd-7/bptt", 300, steps=7), result("pgd-40/bptt", 320, steps=40)) == ["steps-do-not-help"]
    assert codes(result("pgd-7/bptt", 300, steps=7), result("pgd-40/rate", 320, steps=40)) == []


@pytest.mark.parametrize("other", ["rate", "bptt(surrogate=sigmoid(alpha=8.0))"])
def test_another_rule_is_stronger(other: str) -> None:
    assert codes(result("pgd-7/bptt", 300, steps=7), result(f"pgd-7/{other}", 291, steps=7, rule=other)) == []
    assert codes(result("pgd-7/bptt", 300, steps=7), result(f"pgd-7/{other}", 280, steps=7, rule=other)) == [
        "other-rule-stronger"
    ]
    assert codes(result("pgd-7/bptt", 300, steps=7), result(f"pgd-40/{other}", 280, steps=40, rule=other)) == []


def test_the_forward_pass_may_not_move_by_one_bit() -> None:
    assert codes(forward_gap={"rate": 1e-7}) == ["forward-differs"]
    assert codes(forward_gap={"rate": 0.0}) == []


def test_random_models_need_draws() -> None:
    assert codes(result("fgsm/bptt", 300, draws=10), stochastic=True) == []
    assert codes(result("gaussian", 300, rule=""), stochastic=True) == []
    assert codes(result("fgsm/bptt", 300), stochastic=True) == ["one-draw"]
    assert codes(result("fgsm/bptt", 300), stochastic=False) == []


def test_there_is_a_test_for_every_check() -> None:
    assert len(CHECKS) == 6
