"""Verdicts: pairs of accuracies with known differences and known errors."""

import math
from collections.abc import Sequence
from statistics import stdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from snnguard.record import Flags
from snnguard.reproduce import Claim, Pair, verdict
from snnguard.reproduce.item import Cell, Setting
from snnguard.reproduce.verdict import Value


def cell(method: str, attack: str = "pgd7") -> Cell:
    return Cell(setting=Setting(dataset="d", network="n", steps=4, training="vanilla", method=method), attack=attack)


def stood(*shares: Sequence[bool]) -> Value:
    flags = {seed: Flags(tuple(share)) for seed, share in enumerate(shares)}
    return Value(percent={seed: 100 * f.interval.point for seed, f in flags.items()}, flags=flags)


def first(count: int, of: int = 100) -> list[bool]:
    return [i < count for i in range(of)]


def judged(values: dict[Cell, Value], *pairs: Pair) -> tuple[str, str]:
    found = verdict.judged(Claim(text="", source="", pairs=pairs), values)
    return found.verdict, found.reason


X, Y, Z = cell("x"), cell("y"), cell("z")


def test_a_clear_lead_holds_and_its_reverse_does_not() -> None:
    values = {X: stood(first(60), first(61)), Y: stood(first(20), first(19))}
    assert judged(values, Pair(X, Y))[0] == "holds"
    assert judged(values, Pair(Y, X))[0] == "does not hold"
    assert judged(values, Pair(X, 40.0))[0] == "holds"
    assert judged(values, Pair(5.0, Y))[0] == "does not hold"


def test_one_seed_decides_nothing() -> None:
    verdict_, reason = judged({X: stood(first(90)), Y: stood(first(10))}, Pair(X, Y))
    assert verdict_ == "cannot be told"
    assert "one seed" in reason


def test_what_was_not_measured_cannot_be_told() -> None:
    nothing = Value(percent={}, flags={})
    assert "not measured" in judged({X: nothing, Y: stood(first(1), first(1))}, Pair(X, Y))[1]


def test_a_claim_holds_only_if_every_pair_does() -> None:
    values = {X: stood(first(60), first(60)), Y: stood(first(20), first(20)), Z: stood(first(90), first(90))}
    assert judged(values, Pair(X, Y))[0] == "holds"
    found = judged(values, Pair(X, Y), Pair(X, Z))
    assert found[0] == "does not hold"
    assert "1 of 2 comparisons hold, 1 do not" in found[1]
    assert "60.0 % against" in found[1]


def test_seeds_that_disagree_widen_the_interval() -> None:
    """The same mean difference of 10 points: clear between steady trainings, not between unsteady ones."""
    steady = {X: stood(first(50), first(50)), Y: stood(first(40), first(40))}
    unsteady = {X: stood(first(70), first(30)), Y: stood(first(40), first(40))}
    assert judged(steady, Pair(X, Y))[0] == "holds"
    assert judged(unsteady, Pair(X, Y))[0] == "cannot be told"


def test_the_margin_is_students_interval_of_pooled_seeds_and_paired_images() -> None:
    """Against the formula written out: variance of seeds pooled over the column's three networks, variance of images."""
    values = {X: stood(first(50), first(54)), Y: stood(first(40), first(44)), Z: stood(first(10), first(20))}
    pooled = (stdev([50, 54]) ** 2 + stdev([40, 44]) ** 2 + stdev([10, 20]) ** 2) / 3
    per_image = [
        (sum(values[X].flags[s].values[i] for s in (0, 1)) - sum(values[Y].flags[s].values[i] for s in (0, 1))) / 2
        for i in range(100)
    ]
    images = stdev(per_image) ** 2 / 100 * 100**2
    freedom = (pooled + images) ** 2 / (pooled**2 / 3 + images**2 / 99)  # the two sides' halves make one whole
    margin = student.ppf(0.975, freedom) * math.sqrt(pooled + images)
    assert verdict._margin((X, Y), (0, 1), values) == pytest.approx(margin)


def test_monotony_allows_equality_but_no_gain() -> None:
    values = {X: stood(first(30), first(30)), Y: stood(first(30), first(30)), Z: stood(first(60), first(60))}
    assert judged(values, Pair(X, Y, never_less=True))[0] == "holds"
    assert judged(values, Pair(X, Y))[0] == "cannot be told"
    assert judged(values, Pair(X, Z, never_less=True))[0] == "does not hold"


def test_readings_have_no_images_only_seeds() -> None:
    values = {
        X: Value(percent={0: 30.0, 1: 30.2}, flags={}), Y: Value(percent={0: 10.0, 1: 10.1}, flags={}),
    }  # fmt: skip
    assert judged(values, Pair(X, Y))[0] == "holds"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=2, max_size=4))
def test_a_pair_and_its_reverse_never_both_hold(counts: list[tuple[int, int]]) -> None:
    values = {X: stood(*(first(a, 40) for a, _ in counts)), Y: stood(*(first(b, 40) for _, b in counts))}
    one, other = judged(values, Pair(X, Y))[0], judged(values, Pair(Y, X))[0]
    mirrored = {"holds": "does not hold", "does not hold": "holds", "cannot be told": "cannot be told"}
    assert other == mirrored[one]
