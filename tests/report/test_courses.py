"""The figures of a paper: which numbers become curves, and what is drawn of them."""

import math
import re
from pathlib import Path

import pytest

from snnguard import report, reproduce
from snnguard.comparison import Comparison, ComparisonCell
from snnguard.report.courses import courses, drawn
from snnguard.report.print import courses as printed
from snnguard.report.print import export_courses


def comparison(*cells: tuple[str, str, float | None, float | None]) -> Comparison:
    made = tuple(
        ComparisonCell(row=row, column=column, ours=ours, spread=None if ours is None else 1.5, seeds=2, published=told)
        for row, column, ours, told in cells
    )
    return Comparison(title="Figure 2", scale="tiny", note="", cells=made, claims=())


GROWING = [("at", f"pgd4@{radius}", 50 - 5 * place, None) for place, radius in enumerate(("2", "0.5", "1", "4"))]


def test_an_attack_in_growing_balls_is_a_curve_in_the_order_of_the_radii() -> None:
    [course] = courses(comparison(("at", "clean", 60.0, None), *GROWING, ("at", "pgd4@range", 0.0, None)))
    assert (course.title, course.axis) == ("pgd4", "radius in multiples of eps")
    assert [(value, cell.ours) for value, cell in course.lines["at"]] == [(0.5, 45), (1.0, 40), (2.0, 50), (4.0, 35)]


def test_steps_shares_of_the_training_and_coefficients_have_panels_of_their_own() -> None:
    steps = [("a", f"pgd{k}", 40.0, 30.0) for k in (7, 10, 20, 40)]
    others = [("a", f"pgd{k} (BPTR)", 40.0, None) for k in (7, 10, 20, 40)]
    shares = [("a", f"overlap@{part}", 20.0, None) for part in ("first", "1/3", "2/3", "3/3")]
    etas = [(f"mpd-sgr eta={eta}", "clean", 50.0, None) for eta in ("0", "0.01", "0.05", "0.1")]
    found = {
        (c.title, c.axis): [v for v, _ in next(iter(c.lines.values()))]
        for c in courses(comparison(*steps, *others, *shares, *etas))
    }
    assert found == {
        ("pgd", "steps"): [7, 10, 20, 40],
        ("pgd (BPTR)", "steps"): [7, 10, 20, 40],
        ("overlap", "share of the training"): pytest.approx([0, 1 / 3, 2 / 3, 1]),
        ("coefficient", "eta"): [0, 0.01, 0.05, 0.1],
    }


def test_a_plain_table_and_what_nobody_measured_have_none() -> None:
    assert courses(comparison(("at", "fgsm", 1.0, 2.0), ("at", "pgd7", 1.0, 2.0), ("at", "pgd10", 1.0, 2.0))) == []
    assert courses(comparison(*((row, column, None, None) for row, column, *_ in GROWING))) == []


def test_a_missing_point_is_a_gap_and_published_numbers_are_dashed() -> None:
    cells = [
        ("<b>", f"pgd{k}", None if k == 10 else float(k), told) for k, told in ((7, 8.0), (10, 9.0), (20, None), (40, 1.0))
    ]
    [course] = courses(comparison(*cells))
    ours, told = drawn(course).data
    assert (ours.x, ours.y) == ((7, 10, 20, 40), (7.0, None, 20.0, 40.0))
    assert (told.y, told.line.dash) == ((8.0, 9.0, None, 1.0), "dash")
    assert ours.name == "&lt;b&gt;"
    axes = printed([course]).axes[0]
    y = axes.lines[-1].get_data()[1]
    assert [value for value in y if not math.isnan(value)] == [8.0, 9.0, 1.0]


def test_the_picture_stands_in_the_page_and_in_a_file_that_is_the_same_twice(tmp_path: Path, record) -> None:  # type: ignore[no-untyped-def]
    found = comparison(*GROWING)
    page = report.render([record("net", 5, 10)], comparison=found)
    assert "pgd4 against radius in multiples of eps" in page
    files = [tmp_path / name for name in ("a.svg", "b.svg")]
    for path in files:
        export_courses(courses(found), path)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert re.search(r">\s*pgd4\s*<", files[0].read_text())


@pytest.mark.parametrize(
    "name", ["mpd-sgr/figure-2", "mpd-sgr/figure-s2", "mpd-sgr/figure-s4", "mpd-sgr/figure-s5", "mpd-sgr/figure-s6"]
)
def test_every_figure_with_an_axis_is_drawn(name: str) -> None:
    item = reproduce.get(name)
    cells = [(reproduce.labels(item.settings)[c.setting], reproduce.column(c), 50.0, None) for c in item.cells]
    found = courses(comparison(*cells))
    assert found
    assert sum(len(points) for course in found for points in course.lines.values()) > 0.6 * len(cells)
