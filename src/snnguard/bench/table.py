"""Measurements as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from .speed import Case, Row

WHO = """Milliseconds, medians; in brackets the time in units of the floor's (the same network with ReLU in place of the
neurons), the median over rounds in which all take turns. `spikingjelly` has our network around its neurons, the first
convolution computed once, channels last, and input gradients by `torch.autograd.grad`, as torchattacks takes them.
`spikingjelly as used` and `snntorch` repeat the images over time, keep PyTorch's memory order, and take input gradients by
`loss.backward()` with weight gradients, as ART and foolbox do. `loop` is the Python loop of published code there. Each is in a
process of its own. `floor`, `snnguard` and `spikingjelly` run as `snnguard train` runs a network: freed memory stays with the
process, and the optimiser is ours. The others run as a script of their users does."""


def markdown(rows: Sequence[Row]) -> str:
    """One line per case: milliseconds of each contestant and, in brackets, its time in units of the floor's."""
    return _table(rows, lambda row: f"{1000 * row.seconds:.0f} ({row.to_floor:.2f})")


def tables(kept: Mapping[str, Any]) -> str:
    """The whole of what benchmarks/speed.py keeps: times, times as multiples of snnguard's, growth, memory."""
    rows, grown = ([_row(given) for given in kept[part]] for part in ("rows", "growth"))
    versions = ", ".join(f"{name} {version}" for name, version in kept["versions"].items())
    parts = [
        f"Measured on {kept['created'][:10]} by `{kept['command']}` on: {kept['hardware']}; {versions}.",
        WHO,
        markdown(rows),
        "The same as multiples of snnguard's time:",
        _table(rows, lambda row: f"{row.to_snnguard:.2f}"),
    ]
    if grown:
        parts += ["Growth with the time steps and with the batch:", markdown(grown)]
    parts += ["Peak memory of the process in MiB, and in units of the floor's:", _memory(kept["memory"])]
    return "\n\n".join(parts)


def _table(rows: Sequence[Row], cell: Any) -> str:
    names = list(dict.fromkeys(row.contestant for row in rows))
    lines = ["| case | " + " | ".join(names) + " |", "| --- |" + " ---: |" * len(names)]
    for case in dict.fromkeys(row.case for row in rows):
        cells = {row.contestant: cell(row) for row in rows if row.case == case}
        lines.append(f"| {case} | " + " | ".join(cells.get(name, "–") for name in names) + " |")
    return "\n".join(lines)


def _memory(memory: Mapping[str, Mapping[str, int]]) -> str:
    names = list(dict.fromkeys(name for peaks in memory.values() for name in peaks))
    lines = ["| case | " + " | ".join(names) + " |", "| --- |" + " ---: |" * len(names)]
    for case, peaks in memory.items():
        cells = [f"{peaks[name] / 2**20:.0f} ({peaks[name] / peaks['floor']:.2f})" for name in names]
        lines.append(f"| {case} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _row(given: Mapping[str, Any]) -> Row:
    return Row(**{**given, "case": Case(**given["case"])})
