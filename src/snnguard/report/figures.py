"""Figures of a report, made from records alone: one colour and one marker per record in all of them.

Every function takes all records of the page, so that a record keeps its colour where another has nothing to draw.
Numbers that are missing or not finite leave a gap. Names are escaped: plotly reads a little HTML in every text.
"""

import html
import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from snnguard.record import Interval, Membrane, Record

from .table import names, printable, rows

# SOURCE: Okabe and Ito 2008, colours that the common forms of colour blindness keep apart; black and yellow are left
# out (unreadable on a dark or a light page), grey and brown put in their place.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C", "#8C510A")
MARKERS = ("circle", "square", "diamond", "cross", "triangle-up", "x", "star", "triangle-down")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
GREY = "rgba(128,128,128,0.16)"
Number = float | None


def colour(index: int) -> str:
    """The colour of the record at `index`, as `#rrggbb`; they repeat after eight."""
    return PALETTE[index % len(PALETTE)]


def attacks(records: Sequence[Record]) -> go.Figure:
    """Bars: accuracy per attack with its 95 % interval; the strongest gradient rule, unbounded attacks at the right."""
    table = rows(records, condensed=True)
    inside = [as_text(c.name) for c in table.columns if c.bounded]
    outside = [f"{as_text(c.name)}<br>(unbounded)" for c in table.columns if not c.bounded]
    ticks = ["clean", *inside, "<b>worst case</b>", *outside]
    figure = blank("Accuracy under each attack", "", "accuracy (%)")
    for index, (row, name) in enumerate(zip(table.rows, escaped(records), strict=True)):
        cells = table.cells(row)
        shares = [cell.interval if cell else Interval.of(0, 0) for cell in cells]
        figure.add_bar(
            name=name,
            x=ticks,
            y=[percent(s.point) for s in shares],
            error_y=whiskers(shares),
            marker={"color": colour(index)},
            hovertemplate="%{x}: %{y:.1f} %<extra>%{fullData.name}</extra>",
        )
    figure.update_layout(barmode="group", bargap=0.25)
    figure.update_yaxes(range=[0, 102])
    return figure


def robustness(records: Sequence[Record], *, kind: str = "linf") -> go.Figure:
    """Accuracy against the radius with interval bands, for the records whose threat is of `kind`.

    The radius is in 1/255 of the valid range under L∞, in raw input units under any other norm.
    """
    linf = kind == "linf"
    title = f"Accuracy against radius ({ {'linf': 'L∞', 'l2': 'L2'}.get(kind, as_text(kind)) })"
    figure = blank(title, "radius eps (1/255 of the input range)" if linf else "radius eps (input units)", "accuracy (%)")
    styles = {name: DASHES[i % 5] for i, name in enumerate(dict.fromkeys(c.name for r in records for c in r.curves))}
    for index, (record, name) in enumerate(zip(records, escaped(records), strict=True)):
        if record.threat.get("kind", "linf") != kind:
            continue
        scale = 255 / (record.threat.get("high", 1) - record.threat.get("low", 0)) if linf else 1
        for curve in record.curves:
            points = sorted(zip(curve.eps, curve.accuracy, strict=True), key=lambda p: p[0])
            label = f"{name}, {as_text(curve.name)}"
            x = [finite(eps * scale) for eps, _ in points]
            for bound, fill in (("high", {}), ("low", {"fill": "tonexty", "fillcolor": faint(index, alpha=0.18)})):
                y = [percent(getattr(share, bound)) for _, share in points]
                hidden = {"legendgroup": label, "showlegend": False, "hoverinfo": "skip", "mode": "lines"}
                figure.add_scatter(x=x, y=y, line={"width": 0, "color": colour(index)}, **hidden, **fill)
            figure.add_scatter(
                x=x,
                y=[percent(share.point) for _, share in points],
                name=label,
                legendgroup=label,
                mode="lines+markers",
                line={"color": colour(index), "width": 2, "dash": styles[curve.name]},
                marker=marker(index),
                hovertemplate="eps %{x:.3g}: %{y:.1f} %<extra>%{fullData.name}</extra>",
            )
    figure.update_yaxes(range=[0, 102])
    figure.update_xaxes(rangemode="tozero")
    return figure


def membranes(records: Sequence[Record]) -> dict[str, go.Figure]:
    """One figure per layer, the records laid over each other: histogram of `u - threshold` as a density, the Gaussian
    with the same mean and standard deviation as a dashed line, the surrogate's window shaded."""
    layers = dict.fromkeys(m.layer for r in records for m in r.membranes)
    return {layer: figure for layer in layers if (figure := _membrane(records, layer)) is not None}


def training(records: Sequence[Record]) -> dict[str, go.Figure]:
    """One figure per logged quantity against the epoch; one logged per layer (`rate.conv1`, ...) as their mean."""
    keys = dict.fromkeys(key for r in records for epoch in r.epochs for key in epoch if isinstance(key, str))
    panels: list[tuple[str, str, tuple[tuple[str, str], ...]]] = [
        ("Training loss", "loss", (("loss", "solid"),)),
        ("Accuracy", "accuracy (%)", (("validation_accuracy", "solid"), ("train_accuracy", "dot"))),
        ("Potentials inside the surrogate window", "share (%)", (("overlap", "solid"),)),
        ("Potentials close to the threshold", "share (%)", (("proximal", "solid"),)),
        ("Firing rate, mean over layers", "spikes per neuron and step", (("rate", "solid"),)),
        ("Channels that never fire", "share (%)", (("dead", "solid"),)),
        *((f"Penalty {k.partition('.')[2]}", "value", ((k, "solid"),)) for k in keys if k.startswith("penalty.")),
        ("Learning rate", "learning rate", (("learning_rate", "solid"),)),
    ]
    figures = {}
    for title, unit, series in panels:
        figure = blank(as_text(title), "epoch", unit)
        figure.update_yaxes(rangemode="tozero")
        for key, dash in series:
            factor = 100.0 if unit.endswith("(%)") else 1.0
            _draw_epochs(figure, records, key, dash, factor, suffix=len(series) > 1)
        if figure.data:
            figures[title] = figure
    return figures


def _draw_epochs(figure: go.Figure, records: Sequence[Record], key: str, dash: str, factor: float, *, suffix: bool) -> None:
    for index, (record, name) in enumerate(zip(records, escaped(records), strict=True)):
        values = [_logged(epoch, key) for epoch in record.epochs]
        if all(v is None for v in values):
            continue
        numbers = [finite(epoch.get("epoch")) for epoch in record.epochs]
        figure.add_scatter(
            x=[i if n is None else n for i, n in enumerate(numbers)],
            y=[None if v is None else factor * v for v in values],
            name=f"{name}, {key.removesuffix('_accuracy')}" if suffix else name,
            mode="lines+markers",
            line={"color": colour(index), "width": 2, "dash": dash},
            marker=marker(index),
            hovertemplate="epoch %{x}: %{y:.4g}<extra>%{fullData.name}</extra>",
        )


def _membrane(records: Sequence[Record], layer: str) -> go.Figure | None:
    figure = blank(as_text(layer), "membrane potential − threshold", "density")
    found: list[tuple[int, Membrane]] = []
    peak = 0.0
    for index, (record, name) in enumerate(zip(records, escaped(records), strict=True)):
        for m in record.membranes:
            if m.layer != layer or len(m.edges) != len(m.counts) + 1 or not sum(m.counts):
                continue
            found.append((index, m))
            total = sum(m.counts)
            density = [n / total / (b - a) for n, a, b in zip(m.counts, m.edges, m.edges[1:], strict=False)]
            peak = max([peak, *density[1:-1]])
            x = [(a + b) / 2 for a, b in zip(m.edges, m.edges[1:], strict=False)]
            style: dict[str, Any] = {
                "fill": "tozeroy",
                "fillcolor": faint(index, alpha=0.14 if len(records) < 3 else 0.06),
                "mode": "lines",
            }
            line = {"color": colour(index), "width": 1.5, "shape": "hvh"}
            text = f"mean {m.mean:.3g}, std {m.std:.3g}, overlap {100 * m.overlap:.1f} %"
            hover = f"%{{x:.3g}}: %{{y:.3g}}<br>{text}<extra>%{{fullData.name}}</extra>"
            figure.add_scatter(x=x, y=density, name=name, legendgroup=name, line=line, hovertemplate=hover, **style)
            if m.std > 0 and math.isfinite(m.mean) and math.isfinite(m.std):
                grid = [m.edges[0] + (m.edges[-1] - m.edges[0]) * i / 120 for i in range(121)]
                bell = [math.exp(-(((g - m.mean) / m.std) ** 2) / 2) / (m.std * math.sqrt(2 * math.pi)) for g in grid]
                peak = max([peak, *bell])
                hidden = {"legendgroup": name, "showlegend": False, "hoverinfo": "skip", "mode": "lines"}
                figure.add_scatter(x=grid, y=bell, line={"color": colour(index), "dash": "dash", "width": 2}, **hidden)
    if not found:
        return None
    windows = {m.window: index for index, m in found if math.isfinite(m.window) and m.window > 0}
    for window, index in windows.items():
        fill = GREY if len(windows) == 1 else faint(index, alpha=0.12)
        figure.add_vrect(x0=-window, x1=window, fillcolor=fill, line={"width": 0}, layer="below")
    figure.add_vline(x=0, line={"width": 1, "color": "gray", "dash": "dot"})
    figure.update_xaxes(range=[min(m.edges[0] for _, m in found), max(m.edges[-1] for _, m in found)])
    figure.update_yaxes(range=[0, 1.08 * peak if peak else 1])
    return figure


def blank(title: str, x: str, y: str) -> go.Figure:
    """An empty figure in the style of all of them; the title and the names of the axes as they are, not escaped."""
    figure = go.Figure()
    axis = {"gridcolor": "rgba(128,128,128,0.25)", "zeroline": False, "automargin": True, "linecolor": "gray"}
    figure.update_layout(
        template="none",
        title={"text": title, "x": 0, "xref": "paper", "font": {"size": 15}},
        font={"family": "system-ui, sans-serif", "size": 12, "color": "#444"},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom"},
        margin={"l": 56, "r": 12, "t": 44, "b": 48},
        xaxis={"title": {"text": x}, **axis},
        yaxis={"title": {"text": y}, **axis},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": "gray", "activecolor": "gray"},
        showlegend=True,
    )
    return figure


def _logged(epoch: dict[str, Any], key: str) -> Number:
    """The value under `key`, or the mean of the values under `key.*`; None if there is no finite number."""
    if key in epoch:
        return finite(epoch[key])
    parts = [finite(v) for k, v in epoch.items() if isinstance(k, str) and k.startswith(f"{key}.")]
    known = [p for p in parts if p is not None]
    return sum(known) / len(known) if known else None


def finite(value: Any) -> Number:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def percent(share: float) -> Number:
    """A share in percent; None, which leaves a gap, if it is not finite."""
    return 100 * share if math.isfinite(share) else None


def whiskers(shares: Sequence[Interval]) -> dict[str, Any]:
    """Error bars of intervals, in percent."""

    def side(value: float) -> float:
        return 100 * value if math.isfinite(value) else 0.0

    return {
        "type": "data",
        "symmetric": False,
        "array": [side(s.high - s.point) for s in shares],
        "arrayminus": [side(s.point - s.low) for s in shares],
        "thickness": 1.2,
        "width": 2,
        "color": "gray",
    }


def marker(index: int) -> dict[str, Any]:
    """The colour and the symbol of what is at `index`."""
    return {"color": colour(index), "size": 6, "symbol": MARKERS[index % len(MARKERS)]}


def faint(index: int, *, alpha: float) -> str:
    """Its colour, with this opacity."""
    number = int(colour(index)[1:], 16)
    return f"rgba({number >> 16},{number >> 8 & 255},{number & 255},{alpha})"


def as_text(text: str) -> str:
    """Text that plotly shows as it is."""
    return html.escape(printable(text), quote=False)


def escaped(records: Sequence[Record]) -> list[str]:
    return [html.escape(name, quote=False) for name in names(records)]
