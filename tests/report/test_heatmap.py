"""Heat maps of sweeps: every record in its cell, gaps where a cell is missing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from snnguard.errors import RequestError
from snnguard.record import Flags, Provenance, Record
from snnguard.report.heatmap import field, heatmaps, write


def record(decay: float, steps: int, right: int, base: Record) -> Record:
    recipe: dict[str, Any] = {"network": {"neuron": {"decay": decay}, "steps": steps}, "parts": [{"a": 1}]}
    provenance = replace(base.provenance, recipe=recipe)
    flags = Flags(tuple(i < right for i in range(10)))
    return replace(base, clean=flags, attacks=(), provenance=provenance)


@pytest.fixture
def base() -> Record:
    provenance = Provenance(command="", created="", commit="", versions={}, hardware="", recipe={}, data="", weights="", seed=0)
    return Record(
        name="r", threat={"kind": "linf", "eps": 0.1}, suite="quick", labels=(), clean=Flags((True,)), attacks=(),
        suspicions=(), provenance=provenance,
    )  # fmt: skip


def test_values_stand_where_they_belong(base: Record) -> None:
    records = [record(1.0, 4, 9, base), record(0.5, 2, 3, base), record(0.5, 4, 5, base)]
    figure = heatmaps(records, axes=["network.neuron.decay", "network.steps"])
    clean = figure.data[0]
    assert list(clean.y) == ["0.5", "1.0"]
    assert list(clean.x) == ["2", "4"]
    assert [list(row) for row in clean.z] == [[30.0, 50.0], [None, 90.0]]


def test_one_axis_and_three(base: Record) -> None:
    one = heatmaps([record(1.0, 4, 9, base), record(0.5, 4, 5, base)], axes=["network.neuron.decay"])
    assert [list(row) for row in one.data[0].z] == [[50.0], [90.0]]
    three = heatmaps([record(1.0, s, s, base) for s in (2, 4)], axes=["network.neuron.decay", "parts.0.a", "network.steps"])
    assert len(three.data) == 4  # clean and worst case for each of two panels
    assert [three.data[0].z[0][0], three.data[2].z[0][0]] == [20.0, 40.0]


def test_requests_that_make_no_map(base: Record) -> None:
    one = record(1.0, 4, 9, base)
    with pytest.raises(RequestError, match="found 0"):
        heatmaps([one], axes=[])
    with pytest.raises(RequestError, match=r"no network\.height"):
        heatmaps([one], axes=["network.height"])
    assert field(one, "parts.0.a") == 1


def test_the_page_stands_alone(base: Record, tmp_path: Path) -> None:
    write(heatmaps([record(1.0, 4, 9, base)], axes=["network.steps"]), tmp_path / "map.html")
    text = (tmp_path / "map.html").read_text()
    assert "http" not in text.split("</script>")[-1]
    assert "Accuracy (%)" in text
