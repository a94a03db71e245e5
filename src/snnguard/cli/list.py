"""snnguard list."""

import inspect
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table

from snnguard import networks, recipes
from snnguard.attacks import Attack
from snnguard.choice import unknown
from snnguard.data.source import NAMES as DATA
from snnguard.defenses.catalogue import catalogue
from snnguard.encoders import Encoder
from snnguard.errors import UnknownName
from snnguard.evaluation.suites import SUITES
from snnguard.neurons import LIF, GradientRule, Surrogate, Trait
from snnguard.threat import Threat
from snnguard.training import Optimiser

from .main import app, console

Entries = list[dict[str, Any]]


def _members(family: Any) -> Entries:
    entries = []
    for name, make in family.members().items():
        entry = {"name": name, "description": first_line(make)}
        for field in ("source", "changes"):
            if isinstance(getattr(make, field, None), str):
                entry[field] = getattr(make, field)
        entries.append(entry)
    return entries


LISTS: dict[str, Callable[[], Entries]] = {
    "attacks": lambda: _members(Attack),
    "data": lambda: [{"name": name, "description": ""} for name in DATA],
    "defenses": lambda: [asdict(entry) for entry in catalogue()],
    "encoders": lambda: _members(Encoder),
    "networks": lambda: [{"name": k, "description": v} for k, v in networks.names().items()],
    "neurons": lambda: _members(LIF),
    "optimisers": lambda: _members(Optimiser),
    "recipes": lambda: [{"name": n, "description": str(recipes.get(n).defense)} for n in recipes.names()],
    "rules": lambda: _members(GradientRule),
    "suites": lambda: [{"name": name, "description": first_line(make)} for name, make in SUITES.items()],
    "surrogates": lambda: _members(Surrogate),
    "threats": lambda: _members(Threat),
    "traits": lambda: _members(Trait),
}


@app.command("list")
def list_(
    what: Annotated[str | None, typer.Argument(help=f"One of: {', '.join(LISTS)}.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """What there is to choose from, by the names that recipes and options use."""
    if what is None and as_json:
        print(json.dumps({name: make() for name, make in LISTS.items()}, indent=1))
        return
    if what is None:
        for name, make in LISTS.items():
            console.print(f"[bold]{name}[/]: {', '.join(e['name'] for e in make())}")
        return
    if what not in LISTS:
        raise UnknownName(unknown("list", what, LISTS))
    entries = LISTS[what]()
    if as_json:
        print(json.dumps(entries, indent=1))
        return
    table = Table(box=None, pad_edge=False)
    keys = [key for key in ("name", "changes", "cost", "description", "source") if any(key in e for e in entries)]
    for key in keys:
        table.add_column(key, no_wrap=key == "name")
    for entry in entries:
        table.add_row(*("" if entry.get(key) is None else str(entry[key]) for key in keys))
    console.print(table)


def first_line(make: Any) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(make) or "").split("\n")[0]
