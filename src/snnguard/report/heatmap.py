"""Heat maps of a sweep: accuracy over the values of one, two or three swept fields, from records alone."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from snnguard.errors import RequestError
from snnguard.record import Record, write_atomic


def heatmaps(records: Sequence[Record], *, axes: Sequence[str], places: Sequence[Sequence[str]]) -> go.Figure:
    """Clean and worst-case accuracy in percent for every combination of values; `places` has those of each record.

    `axes` are the swept fields, e.g. `network.neuron.decay`; the first goes up, the second to the right, and each value of a
    third gets a row of maps of its own. Combinations without a record stay empty. Raises `RequestError` for none or more
    than three fields.
    """
    if not 1 <= len(axes) <= 3:
        raise RequestError(f"a heat map shows one, two or three swept fields, found {len(axes)}: {', '.join(axes)}")
    ticks = [sorted(dict.fromkeys(place[i] for place in places), key=_order) for i in range(len(axes))]
    rows, columns, panels = (*ticks, [""], [""])[:3]
    found = {(*place, "", "")[:3]: record for place, record in zip(places, records, strict=True)}
    titles = [f"{what}{f', {axes[2]} = {panel}' if panel else ''}" for panel in panels for what in ("clean", "worst case")]
    figure = make_subplots(rows=len(panels), cols=2, subplot_titles=titles)
    for (number, panel), (column, what) in itertools.product(enumerate(panels, 1), enumerate(("accuracy", "worst"), 1)):
        figure.add_trace(
            go.Heatmap(
                z=[[_percent(found.get((row, col, panel)), what) for col in columns] for row in rows],
                x=columns, y=rows, zmin=0, zmax=100, colorscale="Viridis", texttemplate="%{z:.1f}",
                hovertemplate="%{y}, %{x}: %{z:.1f} %<extra></extra>", showscale=column == 2,
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


def _order(value: str) -> tuple[int, float, str]:
    try:
        return (0, float(value), value)
    except ValueError:
        return (1, 0.0, value)


def _percent(record: Record | None, what: str) -> float | None:
    return None if record is None else round(100 * float(getattr(record, what).point), 2)
