"""Heat maps of sweeps: every record in its cell, gaps where a cell is missing."""

from dataclasses import replace
from pathlib import Path

import pytest

from snnguard.errors import RequestError
from snnguard.record import Flags, Provenance, Record
from snnguard.report.heatmap import heatmaps, write

PROVENANCE = Provenance(command="", created="", commit="", versions={}, hardware="", recipe={}, data="", weights="", seed=0)
BASE = Record(
    name="r", threat={"kind": "linf", "eps": 0.1}, suite="quick", labels=(), clean=Flags((True,)), attacks=(), suspicions=(),
    provenance=PROVENANCE,
)  # fmt: skip


def record(right: int) -> Record:
    return replace(BASE, clean=Flags(tuple(i < right for i in range(10))))


def test_values_stand_where_they_belong_and_missing_ones_leave_a_gap() -> None:
    figure = heatmaps(
        [record(9), record(3), record(5)], axes=["network.neuron.decay", "network.steps"],
        places=[("1.0", "16"), ("0.5", "2"), ("0.5", "16")],
    )  # fmt: skip
    clean = figure.data[0]
    assert list(clean.y) == ["0.5", "1.0"]
    assert list(clean.x) == ["2", "16"]  # as numbers, not as words
    assert [list(row) for row in clean.z] == [[30.0, 50.0], [None, 90.0]]


def test_one_axis_and_three() -> None:
    one = heatmaps([record(9), record(5)], axes=["defense"], places=[("reg",), ("at",)])
    assert list(one.data[0].y) == ["at", "reg"]
    assert [list(row) for row in one.data[0].z] == [[50.0], [90.0]]
    three = heatmaps([record(2), record(4)], axes=["a", "b", "network.steps"], places=[("1", "1", "2"), ("1", "1", "4")])
    assert len(three.data) == 4  # clean and worst case for each of two panels
    assert [three.data[0].z[0][0], three.data[2].z[0][0]] == [20.0, 40.0]


def test_no_field_and_four_make_no_map() -> None:
    for axes in ([], ["a", "b", "c", "d"]):
        with pytest.raises(RequestError, match=f"found {len(axes)}"):
            heatmaps([record(1)], axes=axes, places=[axes])


def test_the_page_stands_alone(tmp_path: Path) -> None:
    write(heatmaps([record(9)], axes=["network.steps"], places=[("4",)]), tmp_path / "map.html")
    text = (tmp_path / "map.html").read_text()
    assert "http" not in text.split("</script>")[-1]
    assert "Accuracy (%)" in text
