"""Docstrings made ready for Markdown, and the fields of a choice as a table with defaults and ranges."""

import importlib
import re
from typing import Any

import griffe
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "length ≥"}


class Docstrings(griffe.Extension):
    """Runs once the package is read, over every object in it."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        for thing in walk(pkg):
            if thing.docstring is not None:
                thing.docstring.value = escaped(thing.docstring.value)
            if isinstance(thing, griffe.Class):
                tabulate(thing)


def walk(thing: griffe.Object) -> list[griffe.Object]:
    """An object and all that is defined in it; what is only imported is met where it is defined."""
    inner = [member for member in thing.members.values() if not member.is_alias]
    return [thing, *(found for member in inner for found in walk(member))]  # type: ignore[arg-type]


def escaped(text: str) -> str:
    """Prose in which *F and x_adv stand for themselves; indented blocks and `code` are left alone."""
    return "\n".join(line if line.startswith("    ") else escaped_line(line) for line in text.split("\n"))


def escaped_line(line: str) -> str:
    parts = line.split("`")
    told = "`".join(part if i % 2 else re.sub(r"([*_<\[\]])", r"\\\1", part) for i, part in enumerate(parts))
    return re.sub(r"\b(SOURCE|DEVIATION):", r"**\1:**", told)


def tabulate(made: griffe.Class) -> None:
    """Takes the fields of a pydantic model out of the members and appends them to its docstring as a table."""
    found = getattr(importlib.import_module(made.module.path), made.name, None)
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
    """The type as written, without the ranges that the last column has."""
    written = next(vars(c)["__annotations__"][name] for c in model.__mro__ if name in vars(c).get("__annotations__", {}))
    text = written if isinstance(written, str) else griffe_free(written)
    return text.replace("|", "\\|")


def griffe_free(written: Any) -> str:
    """A type's short name: int, Threat, float | None, tuple[Defense, ...]."""
    text = written.__name__ if isinstance(written, type) and not hasattr(written, "__args__") else str(written)
    text = re.sub(r"typing\.Annotated\[([^,\[\]]+), [^\[\]]*?\)\]", r"\1", text)
    return re.sub(r"\b(?:[a-z_0-9]+\.)+(?=[A-Za-z])", "", text).replace("NoneType", "None")


def default(field: Any) -> str:
    if field.default is PydanticUndefined:
        return "required" if field.default_factory is None else "made anew"
    return "`" + str(field.default if not isinstance(field.default, str) else repr(field.default)).replace("|", "\\|") + "`"


def bounds(field: Any) -> str:
    return ", ".join(
        f"{sign} {getattr(limit, name):g}"
        for limit in field.metadata
        for name, sign in BOUNDS.items()
        if getattr(limit, name, None) is not None
    )
