"""Every two records of a report on the same images: differences per attack with intervals and McNemar's test."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import plotly.graph_objects as go

from snnguard.errors import RequestError
from snnguard.paired import paired
from snnguard.record import Record

from . import figures
from .table import printable

WORST = "worst case"


def pairs(records: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """`{"0-1": {"refused": "", "rows": [...]}}` for every two places; differences are of the second less the first.

    A row has the label, how many images stand in one alone, the difference with its 95 % interval in points, and p. Where
    the records were not judged on the same images within one threat, `refused` says so.
    """
    return {f"{i}-{j}": _pair(one, other) for (i, one), (j, other) in combinations(enumerate(records), 2)}


def chart() -> go.Figure:
    """The empty figure of one pair: a point with a whisker per attack, and a line where there is no difference."""
    figure = figures.blank("Difference with its 95 % interval", "points of accuracy", "")
    figure.add_scatter(
        mode="markers", marker={"color": figures.colour(0), "size": 9}, error_x={"thickness": 1.5, "color": "gray"},
        hovertemplate="%{text}: %{x:+.1f} points<extra></extra>",
    )  # fmt: skip
    figure.add_vline(x=0, line={"width": 1, "color": "gray", "dash": "dot"})
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(showlegend=False)
    return figure


def _pair(one: Record, other: Record) -> dict[str, Any]:
    try:
        return {"refused": "", "rows": [_row(one, other, label, attack) for label, attack in _compared(one, other)]}
    except RequestError as refused:
        return {"refused": f"No comparison: {printable(str(refused))}.", "rows": []}


def _compared(one: Record, other: Record) -> list[tuple[str, str | None]]:
    """Label and attack of every row. The worst case is there only if both records faced the same attacks within the threat."""
    shared = [a.name for a in one.attacks if a.name in {b.name for b in other.attacks}]
    bounded = [{a.name for a in record.attacks if Record.counts_for_worst(a)} for record in (one, other)]
    worst: list[tuple[str, str | None]] = [(WORST, None)] if bounded[0] == bounded[1] != set() else []
    return [("clean", "clean"), *worst, *((printable(name), name) for name in shared)]


def _row(one: Record, other: Record, label: str, attack: str | None) -> dict[str, Any]:
    found = paired(one, other, attack=attack)
    low, high = (round(100 * bound, 3) for bound in found.interval)
    return {
        "label": label, "only_one": found.only_one, "only_other": found.only_other, "p": float(f"{found.p:.3g}"),
        "difference": round(100 * found.difference, 3), "low": low, "high": high,
    }  # fmt: skip
