"""All records as one sortable table: a line per model and threat, with what each suite left of it.

The JSON has the fields of RobustBench's model files (name, dataset, architecture, eps, clean_acc, autoattack_acc, reported,
unreliable) and more: intervals, the gradient rule, suspicions, weights, commit.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from snnguard.errors import RequestError
from snnguard.record import SCHEMA, Interval, Record, read_json, write_atomic

from .table import escaped, full, printable, threat_text

SUITES = ("paper", "standard", "spike")
"""The columns, from the weakest evidence to the strongest."""

HEADINGS = ("model", "threat", "clean", "PGD-7", *SUITES, "suspicions")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One model under one threat: its records by suite, the largest of each."""

    records: dict[str, Record]

    @property
    def any(self) -> Record:
        """The one that speaks for the model itself: of the most images."""
        return max(self.records.values(), key=lambda record: len(record.clean))

    def worst(self, suite: str) -> Interval | None:
        """The worst case of a suite, or None where it was not run."""
        return _worst(self.records[suite]) if suite in self.records else None

    @property
    def strongest(self) -> Interval | None:
        """The lowest worst case of the suites in the columns, or else of the others; None without an attack in the ball."""
        for suites in (SUITES, self.records):
            known = [interval for suite in suites if (interval := self.worst(suite)) is not None]
            if known:
                return min(known, key=lambda i: i.point)
        return None

    @property
    def suspicions(self) -> tuple[str, ...]:
        """The codes that any of its records raised."""
        return tuple(dict.fromkeys(s.code for record in self.records.values() for s in record.suspicions))

    def to_json(self) -> dict[str, Any]:
        """RobustBench's fields, in percent as there, and ours."""
        record = self.any
        made, recipe = record.provenance, record.provenance.recipe
        standard, pgd = self.worst("standard"), _pgd(self.records.get("paper"))
        return {
            "name": record.name, "dataset": recipe.get("data", {}).get("name", ""), "venue": "", "link": "",
            "architecture": recipe.get("network", {}).get("name", ""), "eps": record.threat.get("eps"),
            "norm": record.threat.get("kind"), "clean_acc": _percent(record.accuracy), "reported": _percent(pgd),
            "autoattack_acc": _percent(standard), "unreliable": bool(self.suspicions), "suspicions": list(self.suspicions),
            "spike_acc": _percent(self.worst("spike")), "worst": _bounds(self.strongest),
            "images": len(record.clean), "weights": made.weights, "commit": made.commit, "data": made.data,
            "time_steps": recipe.get("network", {}).get("steps"), "defense": recipe.get("defense", {}),
            "forwards": {suite: sum(a.forwards for a in r.attacks) for suite, r in self.records.items()},
            "backwards": {suite: sum(a.backwards for a in r.attacks) for suite, r in self.records.items()},
        }  # fmt: skip


def lines(records: Sequence[Record]) -> list[Line]:
    """A line per weights and threat, the most robust first, at the end those that nobody attacked within the threat.

    Records without weights are told apart by name. Those of validation images, on which hyper-parameters are chosen, count
    only where a model has no others.
    """
    grouped: dict[tuple[str, ...], dict[str, Record]] = {}
    tested = {_model(record) for record in records if record.provenance.split != "validation"}
    for record in records:
        if record.provenance.split == "validation" and _model(record) in tested:
            continue
        kept = grouped.setdefault(_model(record), {})
        if record.suite not in kept or len(record.clean) > len(kept[record.suite].clean):
            kept[record.suite] = record
    board = [Line(records=kept) for kept in grouped.values()]
    return sorted(board, key=lambda line: 1.0 if line.strongest is None else -line.strongest.point)


def gathered(folders: Sequence[Path]) -> list[Record]:
    """Every record in these files, and in the JSON files below these folders; other JSON files are passed over."""
    paths = [p for f in folders for p in (sorted(f.rglob("*.json")) if f.is_dir() else [f])]
    found = []
    for path in paths:
        data = read_json(path)
        if isinstance(data, dict) and data.get("schema") == SCHEMA and "attacks" in data:
            found.append(Record.load(path))
    if not found:
        raise RequestError(f"no record in {', '.join(map(str, folders))}; make one with: snnguard evaluate RUN")
    return found


def markdown(board: Sequence[Line]) -> str:
    """The table in GitHub's Markdown."""
    rows = ["| " + " | ".join(["", *HEADINGS]) + " |", "| ---: | --- | --- |" + " ---: |" * (2 + len(SUITES)) + " --- |"]
    for rank, line in enumerate(board, 1):
        record = line.any
        cells = [str(rank), escaped(printable(record.name)), escaped(threat_text(record.threat)), full(record.accuracy)]
        cells += [_shown(_pgd(line.records.get("paper"))), *(_shown(line.worst(suite)) for suite in SUITES)]
        rows.append("| " + " | ".join([*cells, escaped(printable(", ".join(line.suspicions))) or "none"]) + " |")
    return "\n".join(rows) + "\n"


def write(board: Sequence[Line], out: Path) -> list[Path]:
    """leaderboard.md, leaderboard.json and leaderboard.html, which sorts by a click on a column, in the folder `out`."""
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(
        files(__package__).joinpath("leaderboard.html").read_text("utf-8")
    )
    rows = [
        {
            "name": printable(line.any.name), "threat": threat_text(line.any.threat), "suspicions": line.suspicions,
            "numbers": [line.any.accuracy, _pgd(line.records.get("paper")), *map(line.worst, SUITES)],
        }
        for line in board
    ]  # fmt: skip
    written = {
        "leaderboard.md": markdown(board),
        "leaderboard.json": json.dumps([line.to_json() for line in board], indent=1, allow_nan=False),
        "leaderboard.html": page.render(rows=rows, headings=HEADINGS, full=_shown),
    }
    for name, text in written.items():
        write_atomic(out / name, text.encode())
    return [out / name for name in written]


def _model(record: Record) -> tuple[str, ...]:
    return record.provenance.weights or record.name, json.dumps(record.threat, sort_keys=True)


def _pgd(record: Record | None) -> Interval | None:
    """What the papers quote: accuracy under PGD-7 through the training surrogate."""
    found = [r for r in record.attacks if r.name in ("pgd-7/bptt", "pgd-7")] if record else []
    return found[0].accuracy if found else None


def _worst(record: Record) -> Interval | None:
    """None without images, or where no attack kept to the threat: clean accuracy would pass for robustness otherwise."""
    attacked = any(Record.counts_for_worst(result) for result in record.attacks)
    return record.worst if attacked and len(record.clean) else None


def _percent(interval: Interval | None) -> float | None:
    return None if interval is None or math.isnan(interval.point) else round(100 * interval.point, 2)


def _bounds(interval: Interval | None) -> list[float] | None:
    """Point, low and high end."""
    return None if interval is None else [round(100 * value, 2) for value in (interval.point, interval.low, interval.high)]


def _shown(interval: Interval | None) -> str:
    return "–" if interval is None else full(interval)
