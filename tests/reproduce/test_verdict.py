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
    values = {X: stood(first(50), first(56)), Y: stood(first(40), first(46)), Z: stood(first(10), first(16))}
    pooled = stdev([50, 56]) ** 2
    per_image = [
        (sum(values[X].flags[s].values[i] for s in (0, 1)) - sum(values[Y].flags[s].values[i] for s in (0, 1))) / 2
        for i in range(100)
    ]
    imagined = [*per_image, math.sqrt(0.5), -math.sqrt(0.5)]  # half an image in each of the four cells of the paired table
    images = (sum(d * d for d in imagined) / 102 - (sum(imagined) / 102) ** 2) / 102 * 100**2
    freedom = (pooled + images) ** 2 / (pooled**2 / 3 + images**2 / 101)  # the two sides' halves make one whole
    error = verdict._error((X, Y), (0, 1), values)
    assert error.margin(1) == pytest.approx(student.ppf(0.975, freedom) * math.sqrt(pooled + images))
    assert error.margin(10) == pytest.approx(student.ppf(0.9975, freedom) * math.sqrt(pooled + images))


def test_collapsed_networks_do_not_make_others_certain() -> None:
    """Ten networks at 0 % in the column: the unsteady pair stays as uncertain as it is alone."""
    unsteady = {X: stood(first(30), first(48)), Y: stood(first(22), first(26))}
    collapsed = {cell(f"c{i}"): stood(first(0), first(0)) for i in range(10)}
    alone, together = (judged(values, Pair(X, Y)) for values in (unsteady, unsteady | collapsed))
    assert alone == together
    assert alone[0] == "cannot be told"


def test_one_unlucky_pair_of_many_ties_is_no_refutation() -> None:
    """A difference of 16 points against it is beyond the interval of one pair, and not beyond that of forty."""
    values = {X: stood(first(40), first(40)), Y: stood(first(56), first(56))}
    for i in range(40):
        values[cell(f"a{i}")] = stood(first(70), first(70))
    lost = Pair(X, Y)
    assert judged(values, lost)[0] == "does not hold"
    many = [lost, *(Pair(cell(f"a{i}"), Y) for i in range(40))]
    noisy = {c: Value(percent={0: v.percent[0] - 4, 1: v.percent[1] + 4}, flags=v.flags) for c, v in values.items()}
    assert judged(noisy, lost)[0] == "does not hold"
    assert judged(noisy, *many)[0] == "cannot be told"


def test_a_share_of_zero_among_few_images_is_not_below_five_percent_for_certain() -> None:
    nothing = {X: stood(first(0, 8), first(0, 8))}
    assert judged(nothing, Pair(5.0, X))[0] == "cannot be told"
    assert judged({X: stood(first(0, 1000), first(0, 1000))}, Pair(5.0, X))[0] == "holds"


def test_a_claim_of_which_pairs_were_left_out_can_fail_and_cannot_hold() -> None:
    values = {X: stood(first(60), first(60)), Y: stood(first(20), first(20))}
    narrowed = Claim(text="", source="", pairs=(Pair(X, Y),), whole=False)
    found = verdict.judged(narrowed, values)
    assert found.verdict == "cannot be told"
    assert "not asked for" in found.reason
    reversed_ = Claim(text="", source="", pairs=(Pair(Y, X),), whole=False)
    assert verdict.judged(reversed_, values).verdict == "does not hold"


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
