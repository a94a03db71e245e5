"""Heat maps of a sweep: accuracy over the values of one, two or three swept fields, from records alone."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from snnguard.errors import RequestError
from snnguard.record import Record, write_atomic


def heatmaps(records: Sequence[Record], *, axes: Sequence[str]) -> go.Figure:
    """Clean and worst-case accuracy in percent for every combination of the values that the records have at `axes`.

    `axes` are dotted fields of the recipe, e.g. `network.neuron.decay`; the first goes up, the second to the right, and
    each value of a third gets a row of maps of its own. Raises `RequestError` for none or more than three.
    """
    if not 1 <= len(axes) <= 3:
        raise RequestError(f"a heat map shows one, two or three swept fields, found {len(axes)}: {', '.join(axes)}")
    places = [tuple(field(record, axis) for axis in axes) for record in records]
    ticks = [sorted(dict.fromkeys(place[i] for place in places), key=_order) for i in range(len(axes))]
    rows, columns, panels = ticks[0], ticks[1] if len(ticks) > 1 else [""], ticks[2] if len(ticks) > 2 else [None]
    titles = [
        f"{what}{'' if panel is None else f', {axes[2]} = {panel}'}" for panel in panels for what in ("clean", "worst case")
    ]
    figure = make_subplots(rows=len(panels), cols=2, subplot_titles=titles)
    found = dict(zip(places, records, strict=True))
    for (number, panel), (column, what) in itertools.product(enumerate(panels, 1), enumerate(("accuracy", "worst"), 1)):
        z = [
            [_percent(found.get(tuple(v for v, _ in zip((r, c, panel), axes, strict=False))), what) for c in columns]
            for r in rows
        ]
        figure.add_trace(
            go.Heatmap(
                z=z, x=[str(c) for c in columns], y=[str(r) for r in rows], zmin=0, zmax=100, colorscale="Viridis",
                texttemplate="%{z:.1f}", hovertemplate="%{y}, %{x}: %{z:.1f} %<extra></extra>", showscale=column == 2,
            ),
            row=number, col=column,
        )  # fmt: skip
        figure.update_yaxes(title_text=axes[0] if column == 1 else "", type="category", row=number, col=column)
        figure.update_xaxes(title_text=axes[1] if len(axes) > 1 else "", type="category", row=number, col=column)
    figure.update_layout(title="Accuracy (%)", height=120 + 320 * len(panels), template="plotly_white")
    return figure


def write(figure: go.Figure, path: Path) -> None:
    """One self-contained HTML file."""
    write_atomic(path, figure.to_html(include_plotlyjs=True, full_html=True).encode())


def field(record: Record, path: str) -> Any:
    """The value at a dotted path of a record's recipe. Raises `RequestError` if it is not there."""
    place: Any = record.provenance.recipe
    for key in path.split("."):
        try:
            place = place[int(key) if isinstance(place, list) else key]
        except (KeyError, IndexError, TypeError, ValueError):
            raise RequestError(f"the record {record.name} has no {path} in its recipe") from None
    return str(place) if isinstance(place, dict | list) else place


def _order(value: Any) -> tuple[int, Any]:
    return (0, value) if isinstance(value, int | float) else (1, str(value))


def _percent(record: Record | None, what: str) -> float | None:
    return None if record is None else round(100 * float(getattr(record, what).point), 2)
