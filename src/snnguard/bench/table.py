"""Measurements as Markdown."""

from collections.abc import Sequence

from .speed import Row


def markdown(rows: Sequence[Row]) -> str:
    """One line per case: milliseconds of each contestant and, in brackets, its time in units of the floor's."""
    names = list(dict.fromkeys(row.contestant for row in rows))
    lines = ["| case | " + " | ".join(names) + " |", "| --- |" + " ---: |" * len(names)]
    for case in dict.fromkeys(row.case for row in rows):
        cells = {row.contestant: f"{1000 * row.seconds:.0f} ({row.to_floor:.2f})" for row in rows if row.case == case}
        lines.append(f"| {case} | " + " | ".join(cells.get(name, "–") for name in names) + " |")
    return "\n".join(lines)
