"""The figures of a paper from its comparison: numbers that were measured at several values of one quantity, as curves.

Which ones belong together is read off their names: `pgd4@0.5`, `pgd4@1`, ... are one attack in growing balls, `pgd7`,
`pgd10`, ... one with more steps, rows with `eta=` one method with several coefficients.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import plotly.graph_objects as go

from snnguard.comparison import Comparison, ComparisonCell

from .figures import as_text, blank, colour, marker

LEAST = 4
"""Points of a curve; fewer are a table."""

VALUE = re.compile(r"(?P<what>.*?)(?P<value>first|\d+(?:\.\d+)?(?:/\d+)?)(?P<rest>| \(.*\))")
ETA = re.compile(r"(?P<before>.*?) ?eta=(?P<value>[\d.]+)(?P<after>.*)")


@dataclass(frozen=True, kw_only=True)
class Course:
    """One panel: `lines` by name, each its points (value, cell) in the order of the values."""

    title: str
    axis: str
    lines: dict[str, tuple[tuple[float, ComparisonCell], ...]]


def courses(comparison: Comparison) -> list[Course]:
    """Every panel that can be drawn of these numbers; none of a plain table."""
    panels: dict[tuple[str, str], dict[str, list[tuple[float, ComparisonCell]]]] = {}
    for title, axis, line, value, cell in _placed(comparison):
        panels.setdefault((title, axis), {}).setdefault(line, []).append((value, cell))
    made = []
    for (title, axis), lines in panels.items():
        drawn = {name: tuple(sorted(points, key=lambda p: p[0])) for name, points in lines.items() if len(points) >= LEAST}
        if any(cell.ours is not None or cell.published is not None for points in drawn.values() for _, cell in points):
            made.append(Course(title=title, axis=axis, lines=drawn))
    return made


def _placed(comparison: Comparison) -> Iterator[tuple[str, str, str, float, ComparisonCell]]:
    """Panel, axis, line, place on the axis, and cell."""
    for cell in comparison.cells:
        if found := ETA.fullmatch(cell.row):
            yield "coefficient", "eta", cell.column, float(found["value"]), cell
        elif found := VALUE.fullmatch(cell.column):
            what, rest = found["what"], found["rest"]
            value = 0.0 if found["value"] == "first" else _number(found["value"])
            if not what.endswith("@"):
                yield f"{what}{rest}", "steps", cell.row, value, cell
            elif "/" in cell.column or found["value"] == "first":
                yield f"{what[:-1]}{rest}", "share of the training", cell.row, value, cell
            else:
                yield f"{what[:-1]}{rest}", "radius in multiples of eps", cell.row, value, cell


def _number(text: str) -> float:
    above, _, below = text.partition("/")
    return float(above) / float(below or 1)


def drawn(course: Course) -> go.Figure:
    """For a page: ours with the spread over seeds, the published numbers dashed."""
    figure = blank(as_text(course.title), as_text(course.axis), "%")
    for index, (name, points) in enumerate(course.lines.items()):
        x = [value for value, _ in points]
        style = {"color": colour(index), "width": 2}
        figure.add_scatter(
            x=x, y=[cell.ours for _, cell in points], name=as_text(name), mode="lines+markers", line=style,
            marker=marker(index),
            error_y={"type": "data", "array": [cell.spread or 0 for _, cell in points]},
            hovertemplate=f"{as_text(course.axis)} %{{x:.3g}}: %{{y:.1f}} %<extra>%{{fullData.name}}</extra>",
        )  # fmt: skip
        if any(cell.published is not None for _, cell in points):
            figure.add_scatter(
                x=x, y=[cell.published for _, cell in points], name=f"{as_text(name)}, published", mode="lines",
                line=style | {"dash": "dash"},
            )  # fmt: skip
    return figure
