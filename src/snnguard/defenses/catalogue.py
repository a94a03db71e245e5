"""The table of contents: every defense with its source, what it changes, and what a training step with it costs."""

import inspect
import json
from dataclasses import dataclass
from importlib import resources

from .defense import Defense


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One defense by its name. `cost` is the time of a training step over that of a plain one, as `benchmarks/` measured it
    (`defense_cost.json` says where); None where it was not measured."""

    name: str
    description: str
    source: str
    changes: str
    cost: float | None


def catalogue() -> list[Entry]:
    """Every member of the family, sorted by name."""
    costs = json.loads(resources.files(__package__).joinpath("cost.json").read_text())
    entries = []
    for name, make in Defense.members().items():
        defense = Defense.parse(name)
        entries.append(
            Entry(
                name=name,
                description=(inspect.getdoc(make) or "").split("\n")[0],
                source=defense.credits(),
                changes=defense.touches(),
                cost=costs.get(name),
            )
        )
    return entries


def equation(name: str) -> str:
    """The whole description of a defense: its equation, its fields, its source, and where it leaves it."""
    return inspect.getdoc(Defense.lookup(name)) or ""
