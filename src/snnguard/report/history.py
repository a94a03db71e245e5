"""Membrane histograms over training: what the epoch slider of a page shows, from the logged lines of the records."""

import json
from collections.abc import Sequence
from typing import Any

from snnguard.record import LOGGED_EDGES, Membrane, Record

from . import figures
from .table import names

MOST_EPOCHS = 30
"""How many epochs a page keeps; of a longer training they are evenly spread, with the first and the last."""

HIGHEST = 3.0
"""How much taller than that of the judged network a figure may be made for the histograms of its training."""


def history(records: Sequence[Record]) -> dict[str, Any]:
    """What the page's script reads: `edges`, the `stops` of the slider (epochs, then None: the judged network), `layers`.

    A layer has its figure as judged and one line for each record in it: `logged` by epoch, which is empty where training
    logged no histograms, and `judged`.
    """
    stops = sorted({epoch for record in records for epoch in _kept(record)})
    return {
        "edges": LOGGED_EDGES,
        "stops": [*thinned(stops), None],
        "layers": [_layer(records, layer, figure) for layer, figure in figures.membranes(records).items()],
    }


def thinned(values: Sequence[int], *, most: int = MOST_EPOCHS) -> list[int]:
    """At most `most` (two or more) of the values, evenly spread; the first and the last are kept."""
    if len(values) <= most:
        return list(values)
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]


def _layer(records: Sequence[Record], layer: str, figure: Any) -> dict[str, Any]:
    lines: list[dict[str, Any]] = []
    drawn = {trace.legendgroup for trace in figure.data}
    for record, name, group in zip(records, names(records), figures.escaped(records), strict=True):
        judged = next((m for m in record.membranes if m.layer == layer), None)
        if judged is not None and group in drawn:
            logged = [entry for epoch in _kept(record) if (entry := _entry(_line(record, epoch), epoch, layer)) is not None]
            lines.append({"name": name, "group": group, "logged": logged, "judged": _shares(judged)})
    highest = figure.layout.yaxis.range[1]
    peaks = [
        max(entry["counts"][1:-1]) / 1000 / (LOGGED_EDGES[1] - LOGGED_EDGES[0]) for line in lines for entry in line["logged"]
    ]
    figure.update_yaxes(range=[0, max(highest, min(HIGHEST * highest, 1.08 * max(peaks, default=0)))])
    return {"name": layer, "figure": json.loads(figure.to_json()), "lines": lines}


def _kept(record: Record) -> list[int]:
    """The epochs of a record that logged histograms, thinned out."""
    return thinned([e["epoch"] for e in record.epochs if isinstance(e.get("epoch"), int) and _has_histogram(e)])


def _has_histogram(line: dict[str, Any]) -> bool:
    return any(isinstance(key, str) and key.startswith("histogram.") for key in line)


def _line(record: Record, epoch: int) -> dict[str, Any]:
    return next(line for line in record.epochs if line.get("epoch") == epoch)


def _entry(line: dict[str, Any], epoch: int, layer: str) -> dict[str, Any] | None:
    """The histogram of a layer with its numbers; None if one is missing, not finite or of other bins."""
    counts = line.get(f"histogram.{layer}")
    if not isinstance(counts, list) or len(counts) != len(LOGGED_EDGES) - 1 or not all(isinstance(n, int) for n in counts):
        return None
    numbers = {name: figures.finite(line.get(f"{name}.{layer}")) for name in ("mean", "std", "overlap")}
    if None in numbers.values():
        return None
    return {"epoch": epoch, "counts": counts, **{name: float(f"{value:.4g}") for name, value in numbers.items()}}


def _shares(layer: Membrane) -> dict[str, float | None]:
    return {name: figures.finite(getattr(layer, name)) for name in ("mean", "std", "overlap")}
