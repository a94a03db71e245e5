"""The numbers that the papers print: package data, read once."""

import csv
import functools
from importlib.resources import files

from .item import Cell, Item

FIELDS = ("dataset", "network", "steps", "training", "method", "gradient", "surrogate", "encoding", "attack")


@functools.cache
def table(name: str) -> dict[tuple[str, ...], float]:
    """Accuracy in percent by the values of `FIELDS`, of the table `name` (PAPER/TABLE); empty for figures."""
    paper, _, short = name.partition("/")
    text = files(__package__).joinpath(f"published/{paper}.csv").read_text("utf-8")
    rows = [row for row in csv.DictReader(text.splitlines()) if row["table"] == short.removeprefix("table-")]
    return {tuple(row[field] for field in FIELDS): float(row["accuracy"]) for row in rows}


def key(cell: Cell) -> tuple[str, ...]:
    """The cell in the words of the files. Noise has no attacker's gradient, and a table of noise states none."""
    setting = cell.setting
    steps = "" if setting.steps is None else str(setting.steps)
    return (
        setting.dataset, setting.network, steps, setting.training, setting.method, cell.gradient, setting.surrogate,
        setting.encoding, cell.attack,
    )  # fmt: skip


def accuracy(item: Item, cell: Cell) -> float | None:
    """What the paper prints for the cell, in percent, if it prints a number."""
    return table(item.name).get(key(cell))
