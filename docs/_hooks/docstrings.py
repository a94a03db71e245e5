"""Docstrings made ready for Markdown, and the fields of a choice as a table with defaults and ranges."""

import contextlib
import importlib
import re
from types import ModuleType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import griffe
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "length ≥"}


class Docstrings(griffe.Extension):
    """Runs once the package is read, over every object in it."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        unshadow(pkg)
        for thing in walk(pkg):
            if thing.docstring is not None:
                thing.docstring.value = escaped(thing.docstring.value)
            if isinstance(thing, griffe.Class):
                tabulate(thing)


def unshadow(pkg: griffe.Module) -> None:
    """`recipes.recipe` is the function for whoever imports the room, though a file has the same name: so it is here."""
    rooms = [module for module in pkg.modules.values() if module.exports]
    for member in (member for room in rooms for member in room.members.values() if member.is_alias):
        member.target  # noqa: B018  (found now, while the file can still be found by its name)
    hidden = []
    for room in rooms:
        for name in (str(name) for name in room.exports or () if isinstance(room.members.get(str(name)), griffe.Module)):
            meant = getattr(importlib.import_module(room.path), name)
            if not isinstance(meant, ModuleType):
                hidden.append((room, name, pkg.modules_collection[f"{meant.__module__}.{meant.__qualname__}"]))
    for room, name, meant in hidden:
        room.members[f"{name}.py"], room.members[name] = room.members[name], meant
        meant.parent = room


def walk(thing: griffe.Object) -> list[griffe.Object]:
    """An object and all that is defined in it; what is only imported is met where it is defined."""
    inner = [member for member in thing.members.values() if not member.is_alias]
    return [thing, *(found for member in inner for found in walk(member))]


def escaped(text: str) -> str:
    """Prose in which *F and x_adv stand for themselves; indented blocks and `code` are left alone."""
    return "\n".join(line if line.startswith("    ") else escaped_line(line) for line in text.split("\n"))


def escaped_line(line: str) -> str:
    parts = line.split("`")
    prose = (re.sub(r"([*_\[\]])", r"\\\1", part).replace("<", "&lt;") for part in parts[::2])
    told = "`".join(next(prose) if i % 2 == 0 else part for i, part in enumerate(parts))
    return re.sub(r"\b(SOURCE|DEVIATION):", r"**\1:**", told)


def tabulate(made: griffe.Class) -> None:
    """Takes the fields of a pydantic model out of the members and appends them to its docstring as a table."""
    with contextlib.suppress(ModuleNotFoundError):  # Triton is there on GPU machines alone
        module = importlib.import_module(made.module.path)
        _tabulate(made, getattr(module, made.name, None))


def _tabulate(made: griffe.Class, found: Any) -> None:
    if not (isinstance(found, type) and issubclass(found, BaseModel)):
        return
    rows = [
        f"| `{name}` | `{annotation(found, name)}` | {default(field)} | {bounds(field)} |"
        for name, field in found.model_fields.items()
    ]
    for name in (*found.model_fields, "model_config"):
        made.members.pop(name, None)
    told = made.docstring.value if made.docstring else ""
    kind = f'Called `"{found.kind}"` in recipes.' if getattr(found, "kind", "") else ""
    table = "\n".join(["| field | type | default | allowed |", "|---|---|---|---|", *rows]) if rows else ""
    made.docstring = griffe.Docstring("\n\n".join(part for part in (told, kind, table) if part), parent=made)


def annotation(model: type[BaseModel], name: str) -> str:
    """The type without its ranges, which the last column has: int, Threat, float | None, tuple[Defense, ...]."""
    written = next(vars(c)["__annotations__"][name] for c in model.__mro__ if name in vars(c).get("__annotations__", {}))
    return short(written)


def short(kind: Any) -> str:
    if hasattr(kind, "__metadata__"):
        return short(kind.__origin__)
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " | ".join(short(arg) for arg in args)
    if origin is Literal:
        return " | ".join(map(repr, args))
    if origin is not None:
        return f"{origin.__name__}[{', '.join('...' if arg is ... else short(arg) for arg in args)}]"
    return "None" if kind in (None, type(None)) else getattr(kind, "__name__", str(kind))


def default(field: Any) -> str:
    if field.default is PydanticUndefined:
        return "required" if field.default_factory is None else "made anew"
    return "`" + str(field.default if not isinstance(field.default, str) else repr(field.default)) + "`"


def bounds(field: Any) -> str:
    """What the field's own ranges, and those of its parts, allow."""
    limits = [*field.metadata, *(limit for part in get_args(field.annotation) for limit in getattr(part, "__metadata__", ()))]
    return ", ".join(
        f"{sign} {getattr(limit, name):g}"
        for limit in limits
        for name, sign in BOUNDS.items()
        if getattr(limit, name, None) is not None
    )
