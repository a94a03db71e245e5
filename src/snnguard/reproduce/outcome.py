"""A finished grid as a table: ours, the paper's, the difference, the verdicts, and the same networks under `spike`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from snnguard.comparison import Comparison, ComparisonCell
from snnguard.errors import RequestError
from snnguard.record import Record, write_atomic

from . import measure, published
from .item import BPTR, Cell, Setting
from .plan import Chosen
from .verdict import Value, judged


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """`records` are those of the first seed, under the names that their rows have."""

    comparison: Comparison
    records: tuple[Record, ...]


def outcome(chosen: Chosen, out: Path) -> Outcome:
    """What is there so far; cells that have not been measured are empty.

    Raises `RequestError` if records of one table were made on different images.
    """
    found = {setting: chosen.records(setting, out) for setting in chosen.item.settings}
    spiked = {setting: chosen.records(setting, out, spike=True) for setting in chosen.item.settings}
    records = [record for by_seed in found.values() for record in by_seed.values()]
    _check_images(records)
    values = {cell: _value(cell, found[cell.setting]) for cell in chosen.item.cells}
    label = labels(chosen.item.settings)
    cells = [_cell(chosen, cell, values[cell], label[cell.setting]) for cell in chosen.item.cells]
    cells += [_worst(label[setting], by_seed) for setting, by_seed in spiked.items() if by_seed]
    note = " ".join(filter(None, [chosen.item.note, _said(chosen, records)]))
    comparison = Comparison(
        title=chosen.item.title, scale=f"{chosen.scale.name}: {chosen.scale.description}", note=note, cells=tuple(cells),
        claims=tuple(judged(claim, values) for claim in chosen.item.claims),
    )  # fmt: skip
    shown = ((label[setting], next(iter(by_seed.values()))) for setting, by_seed in found.items() if by_seed)
    return Outcome(comparison=comparison, records=tuple(replace(record, name=name) for name, record in shown))


def write(made: Outcome, folder: Path) -> None:
    """`comparison.json` and `table.md` in `folder`."""
    write_atomic(folder / "comparison.json", json.dumps(made.comparison.to_json(), indent=1).encode())
    write_atomic(folder / "table.md", markdown(made.comparison).encode())


def markdown(comparison: Comparison, *, level: int = 1) -> str:
    """The table under a heading of `level`, then the claims; a cell is ours ± spread over seeds (the paper's; difference)."""
    columns = list(dict.fromkeys(cell.column for cell in comparison.cells))
    by_place = {(cell.row, cell.column): cell for cell in comparison.cells}
    lines = [f"{'#' * level} {comparison.title}", "", f"Scale {comparison.scale}. {comparison.note}", ""]
    lines += [f"| | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    for row in dict.fromkeys(cell.row for cell in comparison.cells):
        shown = [text(by_place.get((row, column))) for column in columns]
        lines.append(f"| {row} | {' | '.join(shown)} |")
    lines += ["", "In %: ours, mean over seeds ± standard deviation, then in brackets the paper's and the difference.", ""]
    lines += [f"- **{claim.verdict}**: {claim.text} ({claim.source}). {claim.reason}." for claim in comparison.claims]
    return "\n".join(lines) + "\n"


def text(cell: ComparisonCell | None) -> str:
    """`45.3 ±1.2 (47.6; -2.3)`; a dash for what is missing."""
    if cell is None:
        return ""
    ours = "–" if cell.ours is None else f"{cell.ours:.1f}" + ("" if cell.spread is None else f" ±{cell.spread:.1f}")
    if cell.published is None:
        return ours
    difference = "" if cell.difference is None else f"; {cell.difference:+.1f}"
    return f"{ours} ({cell.published:g}{difference})"


def labels(settings: Sequence[Setting]) -> dict[Setting, str]:
    """Each setting by the fields in which the settings differ, and its method."""
    fields = ("dataset", "network", "steps", "surrogate", "encoding", "training", "method", "eta")
    varying = [f for f in fields if f == "method" or len({getattr(s, f) for s in settings}) > 1]
    return {setting: " ".join(_field(setting, f) for f in varying) for setting in settings}


def _field(setting: Setting, name: str) -> str:
    value = getattr(setting, name)
    return f"T={value}" if name == "steps" else f"eta={value:g}" if name == "eta" else str(value)


def column(cell: Cell) -> str:
    return f"{cell.attack} (BPTR)" if cell.gradient == BPTR else cell.attack


def _value(cell: Cell, records: dict[int, Record]) -> Value:
    flags = {seed: measure.flags(record, cell.attack, cell.gradient) for seed, record in records.items()}
    stood = {seed: found for seed, found in flags.items() if found is not None}
    read = {
        seed: 100 * stood[seed].interval.point if seed in stood else measure.reading(record, cell.attack)
        for seed, record in records.items()
    }
    return Value(percent={seed: number for seed, number in read.items() if number is not None}, flags=stood)


def _cell(chosen: Chosen, cell: Cell, value: Value, row: str) -> ComparisonCell:
    return ComparisonCell(
        row=row, column=column(cell), ours=value.mean, spread=value.spread, seeds=len(value.percent),
        published=published.accuracy(chosen.item, cell),
    )  # fmt: skip


def _worst(row: str, records: dict[int, Record]) -> ComparisonCell:
    value = Value(percent={seed: 100 * record.worst.point for seed, record in records.items()}, flags={})
    return ComparisonCell(
        row=row, column="spike", ours=value.mean, spread=value.spread, seeds=len(records), published=None
    )  # fmt: skip


def _check_images(records: Sequence[Record]) -> None:
    judged_on = sorted({record.provenance.data for record in records})
    if len(judged_on) > 1:
        raise RequestError(
            f"the networks of this table were judged on different images ({'; '.join(judged_on)}); choose another --out"
        )


def _said(chosen: Chosen, records: Sequence[Record]) -> str:
    """Images, seeds, and which column was judged on fewer images."""
    if not records:
        return ""
    said = f"Seeds {', '.join(map(str, chosen.seeds))}; {len(records[0].clean):,} images"
    spiked = [judgement.images for judgement in chosen.judgements if judgement.suite == "spike"]
    said += f", {spiked[0]:,} of them under spike (worst case per image)." if spiked and spiked[0] else "."
    stand_in = {*chosen.scale.data, *chosen.scale.networks} & {v for s in chosen.item.settings for v in (s.dataset, s.network)}
    said += f" Changed: {', '.join(chosen.settings)}." if chosen.settings else ""
    return said + (f" Stand-ins for {', '.join(sorted(stand_in))}: see the scale." if stand_in else "")
