"""Published numbers beside ours."""

import json
from typing import Any

import pytest

from snnguard.comparison import Claim, Comparison, ComparisonCell
from snnguard.errors import RequestError


def cell(**changes: Any) -> ComparisonCell:
    values: dict[str, Any] = {"row": "AT", "column": "PGD-7", "ours": 41.5, "spread": 0.5, "seeds": 3, "published": 44.0}
    return ComparisonCell(**{**values, **changes})


def comparison() -> Comparison:
    claim = Claim(text="It is better.", source="Table 1", verdict="cannot be told", reason="one seed")
    return Comparison(title="t", scale="half as wide", note="n", cells=(cell(), cell(ours=None, spread=None)), claims=(claim,))


def test_the_difference_is_ours_minus_theirs() -> None:
    assert cell().difference == -2.5
    assert cell(ours=None).difference is None
    assert cell(published=None).difference is None


def test_json_and_back() -> None:
    assert Comparison.from_json(json.loads(json.dumps(comparison().to_json()))) == comparison()


def test_a_verdict_is_one_of_three() -> None:
    with pytest.raises(ValueError, match="holds, does not hold, cannot be told; found 'maybe'"):
        Claim(text="", source="", verdict="maybe", reason="")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "damaged", [{}, [], {"title": "t", "cells": [], "claims": []}, {**comparison().to_json(), "cells": [{"row": "r"}]}]
)
def test_what_is_no_comparison_is_refused(damaged: Any) -> None:
    with pytest.raises(RequestError, match="not a comparison"):
        Comparison.from_json(damaged)
