"""Findings in and out of JSON."""

import json
from pathlib import Path

import pytest

from snnguard.errors import RequestError
from snnguard.findings import ClassRobustness, Findings, Patterns, StepMembrane
from snnguard.record import Interval, Provenance

SOME = Findings(
    name="n",
    threat={"kind": "linf", "eps": 0.1},
    images=4,
    seed=0,
    membranes=(
        StepMembrane(
            layer="a", step=1, edges=(-1.0, 0.0, 1.0), counts=(3, 4), mean=0.0, std=0.0, skewness=None, excess_kurtosis=None,
            ks_distance=0.25, window=1.0, overlap=1.0, gaussian_overlap=1.0, proximal=0.5, proximal_band=0.5, rate=0.5,
        ),
    ),
    patterns=(Patterns(eps=0.1, samples=2, distinct=(1, 3), moved=(0.0, 0.5), changed={"a": 0.1}),),
    classes=(ClassRobustness(label="x", clean=Interval.of(3, 4), attacked=Interval.of(1, 4), confusions=(("y", 2), ("z", 1))),),
    provenance=Provenance(
        command="c", created="", commit="", versions={"torch": "2"}, hardware="", recipe={"a": [1]}, data="", weights="", seed=0
    ),
)  # fmt: skip


def test_they_come_back_equal(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(SOME.to_json()))
    assert Findings.load(tmp_path / "a.json") == SOME


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: [], "no findings of schema 1"),
        (lambda data: {**data, "schema": 2}, "no findings of schema 1"),
        (lambda data: {"schema": 1}, "no findings of schema 1"),
        (lambda data: {**data, "findings": {**data["findings"], "more": 1}}, "damaged"),
        (lambda data: {**data, "findings": {**data["findings"], "patterns": [{"eps": 1.0}]}}, "Patterns has other fields"),
        (lambda data: {**data, "findings": {**data["findings"], "classes": 3}}, "damaged"),
    ],
)
def test_what_is_damaged_is_named(tmp_path: Path, spoil, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(spoil(json.loads(json.dumps(SOME.to_json())))))
    with pytest.raises(RequestError, match=message) as raised:
        Findings.load(path)
    assert "a.json" in str(raised.value)
