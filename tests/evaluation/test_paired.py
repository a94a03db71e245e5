"""Comparisons against scipy and by hand."""

from dataclasses import replace
from math import comb

import pytest

from snnguard.errors import RequestError
from snnguard.evaluation import gather, paired
from snnguard.paired import over_seeds
from snnguard.record import AttackResult, Flags, Record


def record(stands: str, *, name: str = "toy", data: str = "the same images") -> Record:
    """A record whose images stand (1) or fall (0) under its only attack, all being right clean."""
    flags = Flags(tuple(c == "1" for c in stands))
    result = AttackResult(name="pgd", attack={"bounded": True}, rule="bptt", correct=flags, seed=0, seconds=0.0)
    return Record(
        name=name, threat={}, suite="toy", labels=(), clean=Flags((True,) * len(flags)), attacks=(result,), suspicions=(),
        provenance=replace(gather(seed=0), data=data),
    )  # fmt: skip


def test_mcnemar_by_hand() -> None:
    found = paired(record("1111110000"), record("1000001000"))
    assert (found.only_one, found.only_other, found.total) == (5, 1, 10)
    assert found.difference == pytest.approx(-0.4)
    # Two sides of a fair coin thrown six times: as uneven as five to one, or more.
    assert found.p == pytest.approx(2 * (comb(6, 0) + comb(6, 1)) / 2**6)
    assert paired(record("1000001000"), record("1111110000")).p == found.p


def test_the_interval_of_a_difference_by_hand() -> None:
    found = paired(record("1111110000"), record("1000001000"))
    half = 1.959964 * ((5.5 / 12 + 1.5 / 12 - (4 / 12) ** 2) / 12) ** 0.5
    assert found.interval == pytest.approx((-4 / 12 - half, -4 / 12 + half), abs=1e-6)
    low, high = paired(record("1000001000"), record("1111110000")).interval
    assert (-high, -low) == pytest.approx(found.interval)


def test_the_interval_shrinks_with_the_number_of_images() -> None:
    low, high = paired(record("1100" * 2500), record("1010" * 2500)).interval
    # Half of the images differ, so the difference of 10,000 pairs has a standard error of sqrt(0.5 / 10,000).
    assert (low, high) == pytest.approx((-1.96 * 0.5**0.5 / 100, 1.96 * 0.5**0.5 / 100), rel=1e-3)


def test_the_same_verdicts_prove_nothing() -> None:
    assert paired(record("1010"), record("1010")).p == 1
    assert paired(record("1010"), record("0101"), attack="clean").p == 1
    assert paired(record("1111111111"), record("0000000000"), attack="pgd").p == pytest.approx(2 / 2**10)


def test_other_images_are_refused() -> None:
    with pytest.raises(RequestError, match="not judged on the same images"):
        paired(record("10"), record("10", data="others"))
    with pytest.raises(RequestError, match="not judged on the same images"):
        paired(record("10"), record("101"))
    with pytest.raises(RequestError, match="judged under other threats"):
        paired(record("10"), replace(record("10"), threat={"kind": "linf", "eps": 0.1}))
    with pytest.raises(RequestError, match="no attack 'cw'"):
        paired(record("10"), record("10"), attack="cw")


def test_seeds() -> None:
    spread = over_seeds([record("1100"), record("1110"), record("1000")])
    assert (spread.mean, spread.std, spread.runs) == (pytest.approx(0.5), pytest.approx(0.25), 3)
    assert over_seeds([record("1100")]).std is None
    with pytest.raises(RequestError):
        over_seeds([])
