"""The table of a report, once as neutral rows and then for the screen and for Markdown.

Columns: clean, one per attack within the threat, the worst case per sample, and, set apart behind it, attacks that the
threat does not bound (CW, noise). The condensed form keeps, of an attack run under several gradient rules (`fgsm/bptt`,
`fgsm/rate`), the rule that left least standing in each record.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table as Screen
from rich.text import Text

from snnguard.record import AttackResult, Interval, Record, Suspicion

MARK = "†"
WHISKER = "± covers the 95 % Wilson interval."


@dataclass(frozen=True, kw_only=True)
class Cell:
    """An accuracy: `hits` of `total` samples. `source` is the attack that it was measured under, if any."""

    hits: int
    total: int
    source: str = ""
    marks: tuple[str, ...] = ()

    @property
    def interval(self) -> Interval:
        return Interval.of(self.hits, self.total)

    def __str__(self) -> str:
        """`45.3 % (42.1 to 48.5)`, or a dash without samples."""
        return full(self.interval)

    @property
    def half_width(self) -> float:
        """The longer side of the interval, so that point ± half-width covers all of it."""
        return max(self.interval.high - self.interval.point, self.interval.point - self.interval.low)

    @property
    def brief(self) -> tuple[str, str]:
        """`("45.3", "±3.2")` in percent, the second rounded up so that it never promises more than the interval."""
        if not self.total:
            return "–", ""
        return f"{100 * self.interval.point:.1f}", f"±{math.ceil(1000 * self.half_width) / 10:.1f}"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One attack; `bounded` if it keeps to the threat and counts for the worst case."""

    name: str
    bounded: bool


@dataclass(frozen=True, kw_only=True)
class Row:
    """One record. `attacks` follows the columns of the table, `None` where the attack was not run.

    `worst` is `None` if no attack kept to the threat: clean accuracy would pass for robustness otherwise.
    """

    name: str
    clean: Cell
    attacks: tuple[Cell | None, ...]
    worst: Cell | None
    marks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Note:
    """What a mark means: the code of a suspicion, and (row name, message) wherever it was raised."""

    mark: str
    code: str
    messages: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows, columns, the notes behind the marks, and sentences that say what was counted."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[Note, ...]
    caption: tuple[str, ...]

    def cells(self, row: Row) -> list[Cell | None]:
        """The row as it is shown: clean, the attacks within the threat, the worst case, the unbounded attacks."""
        inside = sum(c.bounded for c in self.columns)
        return [row.clean, *row.attacks[:inside], row.worst, *row.attacks[inside:]]


def rows(records: Sequence[Record], *, condensed: bool = False) -> Table:
    """The table of `records`, in their order; `condensed` shows one column per attack instead of one per rule."""
    shown, marks = names(records), _marks(records)
    keys: dict[tuple[str, bool], None] = {}
    for record in records:
        keys |= dict.fromkeys((column_of(r, condensed), Record.counts_for_worst(r)) for r in record.attacks)
    columns = sorted((Column(name=n, bounded=b) for n, b in keys), key=lambda c: not c.bounded)
    lines = tuple(_row(r, n, columns, marks, condensed) for r, n in zip(records, shown, strict=True))
    notes = []
    for code, mark in marks.items():
        raised = [(n, s) for n, r in zip(shown, records, strict=True) for s in r.suspicions if s.code == code]
        messages = tuple((name, printable(s.message)) for name, s in raised)
        notes.append(Note(mark=mark, code=printable(code).replace("`", "'"), messages=messages))
    return Table(columns=tuple(columns), rows=lines, notes=tuple(notes), caption=_caption(records, condensed))


def console(records: Sequence[Record]) -> Screen:
    """The condensed table for a terminal of 100 columns, with suspicions and explanations below it."""
    table = rows(records, condensed=True)
    screen = Screen(box=box.SIMPLE_HEAD, collapse_padding=True, show_lines=True, caption_justify="left")
    screen.add_column("accuracy in %", overflow="fold", min_width=10)
    for heading in headings(table):
        screen.add_column(Text(re.sub(r" |(?<=\w{3}-)(?=\d\d)", "\n", heading)), justify="right", no_wrap=True)
    for row in table.rows:
        briefs = [(c.brief, c.marks) if c else (("–", ""), ()) for c in table.cells(row)]
        cells = [Text(f"{point}{MARK if marks else ''}\n{width}") for (point, width), marks in briefs]
        screen.add_row(Text(" ".join([row.name, *row.marks]), style="bold"), *cells)
    lines = [" ".join([WHISKER, *table.caption])]
    lines += [f"{n.mark} {n.code}: {name}: {message}" for n in table.notes for name, message in n.messages]
    screen.caption = Text("\n".join(lines))
    return screen


def markdown(records: Sequence[Record]) -> str:
    """The condensed table in GitHub's Markdown, with the list of suspicions below it."""
    table = rows(records, condensed=True)
    heads = ["accuracy in %", *(escaped(h) for h in headings(table))]
    lines = [_line(heads), _line(["---", *["---:"] * (len(heads) - 1)])]
    for row in table.rows:
        cells = [" ".join([*cell.brief, *cell.marks]).strip() if cell else "–" for cell in table.cells(row)]
        lines.append(_line([" ".join([escaped(row.name), *row.marks]), *cells]))
    lines += ["", " ".join([WHISKER, *map(escaped, table.caption)])]
    if table.notes:
        lines.append("")
        for note in table.notes:
            lines += [f"- {note.mark} `{note.code}`: {escaped(n)}: {escaped(m)}" for n, m in note.messages]
    return "\n".join(lines) + "\n"


def names(records: Sequence[Record]) -> tuple[str, ...]:
    """A distinct printable name for each record; the threat is added where the records were judged under several."""
    several = len({threat_text(r.threat) for r in records}) > 1
    shown: list[str] = []
    for record in records:
        name = printable(record.name) or "unnamed"
        name += f" ({threat_text(record.threat)})" if several else ""
        count = 1
        while (unique := name if count == 1 else f"{name} #{count}") in shown:
            count += 1
        shown.append(unique)
    return tuple(shown)


def printable(text: str) -> str:
    """Without control characters, terminal escapes, line breaks and direction overrides."""
    return "".join(c if c.isprintable() else " " for c in text).strip()


def full(interval: Interval) -> str:
    """`45.3 % (42.1 to 48.5)`, or a dash if there were no samples."""
    bounds = f"{100 * interval.point:.1f} % ({100 * interval.low:.1f} to {100 * interval.high:.1f})"
    return "–" if math.isnan(interval.point) else bounds


def threat_text(threat: dict[str, Any]) -> str:
    """`L∞ ≤ 8/255`; the radius as a fraction of 255 where the images lie in [0, 1] and the norm is L∞."""
    kind, eps = str(threat.get("kind", "?")), threat.get("eps")
    if not isinstance(eps, int | float):
        return printable(kind)
    unit = (threat.get("low", 0), threat.get("high", 1)) == (0, 1)
    radius = f"{eps * 255:.3g}/255" if kind == "linf" and unit else f"{eps:.4g}"
    return f"{ {'linf': 'L∞', 'l2': 'L2'}.get(kind, printable(kind)) } ≤ {radius}"


def column_of(result: AttackResult, condensed: bool) -> str:
    """The column that a result belongs to: its name, without the gradient rule in the condensed form."""
    return printable(result.name.partition("/")[0] if condensed else result.name)


def strongest(results: Sequence[AttackResult]) -> AttackResult:
    """The result that left least standing, the first of equals."""
    return min(results, key=lambda r: r.correct.hits)


def _row(record: Record, name: str, columns: Sequence[Column], marks: dict[str, str], condensed: bool) -> Row:
    own = tuple(dict.fromkeys(marks[s.code] for s in record.suspicions))
    groups: dict[tuple[str, bool], list[AttackResult]] = {}
    for result in record.attacks:
        groups.setdefault((column_of(result, condensed), Record.counts_for_worst(result)), []).append(result)
    cells = []
    for column in columns:
        results = groups.get((column.name, column.bounded), [])
        raised = dict.fromkeys(marks[s.code] for s in record.suspicions for r in results if _mentions(s, r))
        cells.append(_cell(strongest(results), tuple(raised)) if results else None)
    total, attacked = len(record.clean), any(bounded for _, bounded in groups)
    worst = Cell(hits=record.worst_flags.hits, total=total, marks=own) if attacked else None
    return Row(name=name, clean=Cell(hits=record.clean.hits, total=total), attacks=tuple(cells), worst=worst, marks=own)


def _cell(result: AttackResult, marks: tuple[str, ...]) -> Cell:
    return Cell(hits=result.correct.hits, total=len(result.correct), source=result.name, marks=marks)


def _mentions(suspicion: Suspicion, result: AttackResult) -> bool:
    """Whether the message names the attack; a suspicion that names none marks the row and its worst case only."""
    return re.search(rf"(?<![\w/-]){re.escape(result.name)}(?![\w/-])", suspicion.message) is not None


def _marks(records: Sequence[Record]) -> dict[str, str]:
    codes = dict.fromkeys(s.code for record in records for s in record.suspicions)
    return {code: f"{MARK}{number}" for number, code in enumerate(codes, 1)}


def _caption(records: Sequence[Record], condensed: bool) -> tuple[str, ...]:
    if not records:
        return ("No records.",)
    counts = sorted({len(r.clean) for r in records})
    images = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    lines = [f"{images} images; {', '.join(dict.fromkeys(threat_text(r.threat) for r in records))}."]
    results = [r for record in records for r in record.attacks]
    if condensed and len({r.name for r in results}) > len({column_of(r, True) for r in results}):
        lines.append("Of several gradient rules, the strongest per attack and row is shown.")
    if any(Record.counts_for_worst(r) for r in results):
        lines.append("Worst case: right clean and under every attack within the threat.")
    if unbounded := list(dict.fromkeys(column_of(r, condensed) for r in results if not Record.counts_for_worst(r))):
        lines.append(f"Not bounded by the threat and not part of the worst case: {', '.join(unbounded)}.")
    return tuple(lines)


def headings(table: Table) -> list[str]:
    """The headings of `Table.cells`; a star marks what the threat does not bound."""
    bounded = [c.name for c in table.columns if c.bounded]
    return ["clean", *bounded, "worst case", *(f"{c.name} *" for c in table.columns if not c.bounded)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def escaped(text: str) -> str:
    """Text that Markdown takes literally."""
    return re.sub(r"([\\`*_{}\[\]<>|#~!$])", r"\\\1", text.replace("&", "&amp;"))
