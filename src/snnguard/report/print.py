"""The figures of a report for print: SVG and PNG by matplotlib, and the table in LaTeX.

The same records give the same bytes: no date, no random names inside the SVG. Nothing of matplotlib's global state is
touched, so a notebook keeps its own figures.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from snnguard.record import Curve, Interval, Membrane, Record, write_atomic

from .courses import Course
from .figures import colour
from .latex import latex
from .table import headings, names, printable, rows

STYLE: Any = {
    "font.size": 8, "axes.titlesize": 8, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    "axes.grid": True, "grid.color": "#dddddd", "grid.linewidth": 0.5, "legend.frameon": False, "svg.fonttype": "none",
    "svg.hashsalt": "snnguard", "text.parse_math": False,
}  # fmt: skip
UNDATED: dict[str, dict[str, str | None]] = {"svg": {"Date": None, "Creator": "SNNGuard"}, "png": {"Software": "SNNGuard"}}
"""Endings of the files, and what stands in them beside the figure: nothing that differs from one run to the next."""

MARKERS = "osDP^X*v"
DASHES = ("-", "--", ":", "-.")
COLUMNS = 4
LETTER = 0.065
"""Width of a letter of a legend in inches, rather too wide than too narrow."""

LINE = 0.18
"""Height of a line of a legend in inches, by which a figure grows."""


def export(records: Sequence[Record], folder: Path) -> list[Path]:
    """Writes `table.tex` and `accuracy`, `radius-KIND` and `membranes` as .svg and .png; what has no data is left out.

    Returns the files. Raises `RequestError` if the folder cannot be written.
    """
    write_atomic(folder / "table.tex", latex(records).encode())
    written = [folder / "table.tex"]
    with matplotlib.rc_context(STYLE):
        drawn = {"accuracy": accuracy(records)} if any(len(r.clean) for r in records) else {}
        for kind in dict.fromkeys(str(r.threat.get("kind", "linf")) for r in records if r.curves):
            drawn[f"radius-{''.join(c for c in kind if c.isalnum())}"] = radius(records, kind=kind)
        if any(r.membranes for r in records):
            drawn["membranes"] = membranes(records)
        for name, figure in drawn.items():
            for ending, metadata in UNDATED.items():
                path = folder / f"{name}.{ending}"
                write_atomic(path, _rendered(figure, ending, metadata))
                written.append(path)
    return written


def accuracy(records: Sequence[Record]) -> Figure:
    """Bars: accuracy per attack with its 95 % interval, the strongest gradient rule; the last are not bounded by the threat."""
    table = rows(records, condensed=True)
    ticks = headings(table)
    figure, (axes,) = _figure(max(4.0, 0.55 * len(ticks)), 2.3)
    width = 0.8 / max(1, len(table.rows))
    for index, row in enumerate(table.rows):
        shown = [(place, cell.interval) for place, cell in enumerate(table.cells(row)) if cell and cell.total]
        places = [place + (index - (len(table.rows) - 1) / 2) * width for place, _ in shown]
        heights = [100 * share.point for _, share in shown]
        axes.bar(
            places, heights, width, label=row.name, color=colour(index), yerr=_whiskers([share for _, share in shown]),
            error_kw={"elinewidth": 0.6, "ecolor": "#444444"},
        )  # fmt: skip
    axes.set_xticks(range(len(ticks)), ticks, rotation=35, ha="right", rotation_mode="anchor")
    axes.set(ylabel="accuracy (%)", ylim=(0, 102))
    if not all(column.bounded for column in table.columns):
        axes.set_xlabel("* not bounded by the threat", loc="right")
    axes.grid(visible=False, axis="x")
    _legend(figure, axes)
    return figure


def radius(records: Sequence[Record], *, kind: str = "linf") -> Figure:
    """Accuracy against the radius with its 95 % interval as a band; the radius in 1/255 of the range under L∞."""
    figure, (axes,) = _figure(4.0, 2.3)
    styles = {name: DASHES[i % len(DASHES)] for i, name in enumerate(dict.fromkeys(c.name for r in records for c in r.curves))}
    for index, (record, name) in enumerate(zip(records, names(records), strict=True)):
        if record.threat.get("kind", "linf") != kind:
            continue
        scale = 255 / (record.threat.get("high", 1) - record.threat.get("low", 0)) if kind == "linf" else 1
        for curve in record.curves:
            x, shares = _sorted(curve, scale)
            axes.fill_between(
                x, [100 * s.low for s in shares], [100 * s.high for s in shares], color=colour(index), alpha=0.15, lw=0
            )
            axes.plot(
                x, [100 * s.point for s in shares], styles[curve.name], label=f"{name}, {printable(curve.name)}",
                color=colour(index), marker=MARKERS[index % len(MARKERS)], markersize=3, linewidth=1.2,
            )  # fmt: skip
    axes.set(xlabel="radius (1/255 of the input range)" if kind == "linf" else "radius (input units)", ylabel="accuracy (%)")
    axes.set(ylim=(0, 102))
    axes.set_xlim(left=0)
    _legend(figure, axes)
    return figure


def export_courses(found: Sequence[Course], path: Path) -> None:
    """Writes the figure of a comparison as SVG. Raises `RequestError` if the folder cannot be written."""
    with matplotlib.rc_context(STYLE):
        write_atomic(path, _rendered(courses(found), "svg", UNDATED["svg"]))


def courses(found: Sequence[Course]) -> Figure:
    """A panel for each: ours with the spread over seeds, the published numbers dashed."""
    across = min(COLUMNS, len(found))
    down = math.ceil(len(found) / across)
    figure, panels = _figure(3.0 * across, 2.2 * down, down, across)
    for axes, course in zip(panels, found, strict=False):
        for index, (name, points) in enumerate(course.lines.items()):
            style: dict[str, Any] = {"color": colour(index), "marker": MARKERS[index % len(MARKERS)], "markersize": 3}
            x = [value for value, _ in points]
            ours, told = [_or_gap(cell.ours) for _, cell in points], [_or_gap(cell.published) for _, cell in points]
            axes.errorbar(
                x, ours, [cell.spread or 0 for _, cell in points], label=printable(name), capsize=2, linewidth=1.2, **style
            )
            if not all(math.isnan(number) for number in told):
                axes.plot(x, told, linestyle="--", label=f"{printable(name)}, published", linewidth=1.2, **style)
        axes.set_title(printable(course.title), loc="left")
        axes.set(xlabel=course.axis, ylabel="%")
    for place, axes in enumerate(panels):
        axes.set_visible(place < len(found))
    _legend(figure, panels[0])
    return figure


def _or_gap(number: float | None) -> float:
    return math.nan if number is None else number


def membranes(records: Sequence[Record]) -> Figure:
    """One panel per layer: histograms of `u - threshold`, the Gaussians dashed, the surrogate's window shaded."""
    layers = list(dict.fromkeys(m.layer for r in records for m in r.membranes))
    across = min(COLUMNS, len(layers))
    down = math.ceil(len(layers) / across)
    figure, panels = _figure(max(3.2, 1.9 * across), 1.7 * down + 0.2, down, across)
    for axes, layer in zip(panels, layers, strict=False):
        axes.set_title(printable(layer), loc="left")
        peaks = [0.0]
        for index, (record, name) in enumerate(zip(records, names(records), strict=True)):
            for membrane in (m for m in record.membranes if m.layer == layer and any(m.counts)):
                peaks.append(_histogram(axes, membrane, name, colour(index)))
                axes.set_xlim(membrane.edges[0], membrane.edges[-1])
        axes.set_ylim(0, 1.08 * max(peaks) or 1)
        axes.axvline(0, color="#666666", linewidth=0.6, linestyle=":")
        axes.set_yticks([])
    for place, axes in enumerate(panels):
        axes.set_visible(place < len(layers))
        if place + across >= len(layers):  # none below it
            axes.set_xlabel("potential − threshold")
    _legend(figure, panels[0])
    return figure


def _histogram(axes: Axes, membrane: Membrane, name: str, shade: str) -> float:
    """Draws one layer of one record. Returns its highest point, the outermost bins aside: they gather what lies beyond."""
    edges = membrane.edges
    total = sum(membrane.counts)
    density = [n / total / (b - a) for n, a, b in zip(membrane.counts, edges, edges[1:], strict=False)]
    if math.isfinite(membrane.window):
        axes.axvspan(-membrane.window, membrane.window, color="#f0f0f0", lw=0, zorder=0)
    axes.stairs(density, edges, label=name, color=shade, linewidth=1)
    if membrane.std > 0 and math.isfinite(membrane.mean):
        grid = [edges[0] + (edges[-1] - edges[0]) * i / 120 for i in range(121)]
        scale = membrane.std * math.sqrt(2 * math.pi)
        bell = [math.exp(-(((g - membrane.mean) / membrane.std) ** 2) / 2) / scale for g in grid]
        axes.plot(grid, bell, "--", color=shade, linewidth=0.8)
        return max([*density[1:-1], *bell])
    return max(density)


def _figure(width: float, height: float, down: int = 1, across: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of a size in inches and its axes, row by row."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(down, across, squeeze=False).flatten())


def _legend(figure: Figure, axes: Axes) -> None:
    lines, labels = axes.get_legend_handles_labels()
    if labels:
        width = LETTER * max(map(len, labels)) + 0.5
        columns = min(max(1, int(figure.get_figwidth() / width)), len(labels))
        figure.set_figheight(figure.get_figheight() + LINE * math.ceil(len(labels) / columns))
        figure.legend(lines, labels, loc="outside lower center", ncols=columns)


def _sorted(curve: Curve, scale: float) -> tuple[list[float], list[Interval]]:
    points = sorted(zip(curve.eps, curve.accuracy, strict=True), key=lambda point: point[0])
    return [eps * scale for eps, _ in points], [share for _, share in points]


def _whiskers(shares: Sequence[Interval]) -> list[list[float]]:
    return [[100 * (s.point - s.low) for s in shares], [100 * (s.high - s.point) for s in shares]]


def _rendered(figure: Figure, ending: str, metadata: dict[str, str | None]) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format=ending, dpi=200, metadata=metadata)
    return file.getvalue()
