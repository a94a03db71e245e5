"""Choices: frozen, validated, named values with a JSON round trip, found by name.

A *family* is a direct subclass of `Choice` (`Attack`, `Surrogate`, `Defense`, ...); its members are the classes below it
that give a `kind`. Families fill themselves: the first lookup imports every module of the package that the family
lives in, so a new member is one new file. A configured member can have a name of its own too (`fgsm` is a `PGD`):
decorate the function that returns it with `@named(Family, "name")`.

    class Shape(Choice): ...
    class Circle(Shape, kind="circle"):
        radius: PositiveFloat = 1.0

    Shape.parse({"kind": "circle", "radius": 2})    # Circle(radius=2.0)
    Shape.parse("circle")                           # Circle(radius=1.0)
    Circle(radius=2).to_json()                      # {"kind": "circle", "radius": 2.0}
"""

import difflib
import importlib
import json
import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_serializer, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from snnguard.errors import InvalidRecipe, UnknownName

F = TypeVar("F", bound=Callable[..., Any])


class Choice(BaseModel):
    """Base of every family of named values. Fields are keyword-only, checked once, and never change."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    kind: ClassVar[str] = ""
    _members: ClassVar[dict[str, Callable[..., Any]]] = {}
    _discovered: ClassVar[bool] = False

    def __init_subclass__(cls, kind: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if Choice in cls.__bases__:
            cls._members, cls._discovered = {}, False
        cls.kind = kind
        if kind:
            cls._register(kind, cls)

    @classmethod
    def _register(cls, name: str, make: Callable[..., Any]) -> None:
        old = cls._members.get(name)
        if old is not None and (old.__module__, old.__qualname__) != (make.__module__, make.__qualname__):
            raise TypeError(f"{name!r} is already the name of {old.__module__}.{old.__qualname__}")
        cls._members[name] = make

    @classmethod
    def family(cls) -> type["Choice"]:
        """The direct subclass of `Choice` that this class descends from."""
        return next(c for c in cls.__mro__ if Choice in c.__bases__)

    @classmethod
    def members(cls) -> dict[str, Callable[..., Any]]:
        """Every name of the family, sorted, with the class or function that makes it."""
        family = cls.family()
        if not family._discovered:
            package = family.__module__.rpartition(".")[0]
            if "." in package:  # a family in a room; one that lives in a top-level module is complete once imported
                discover(package)
            family._discovered = True
        return dict(sorted(family._members.items()))

    @classmethod
    def lookup(cls, name: str) -> Callable[..., Any]:
        """The class or function called `name`. Raises `UnknownName` with the nearest names."""
        members = cls.members()
        if name not in members:
            raise UnknownName(unknown(cls.family().__name__.lower(), name, members))
        return members[name]

    @classmethod
    def parse(cls, data: Any) -> Self:
        """A member from its JSON form, its bare name, or itself. Raises `InvalidRecipe` with the path of the fault."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise InvalidRecipe(explain(error, cls.__name__)) from None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, `kind` first; `parse` gives back an equal value."""
        value: dict[str, Any] = json.loads(self.model_dump_json())
        return value

    @model_validator(mode="wrap")
    @classmethod
    def _resolve(cls, data: Any, handler: Callable[[Any], Any]) -> Any:
        if isinstance(data, cls):
            return data
        if isinstance(data, str):
            data = {"kind": data}
        if not isinstance(data, Mapping):
            return handler(data)
        fields = dict(data)
        name = fields.pop("kind", cls.kind)
        if not name or name == cls.kind:
            if cls.kind == "" and cls.family()._members:
                raise UnknownName(f"which {cls.family().__name__.lower()}? give a kind: {', '.join(cls.members())}")
            return _hinted(cls, fields, handler)
        made = build(cls.lookup(str(name)), fields)
        if not isinstance(made, cls):
            raise UnknownName(f"{name!r} is no {cls.__name__}")
        return made

    @model_serializer(mode="plain")
    def _named(self) -> dict[str, Any]:
        named = {"kind": self.kind} if self.kind else {}
        return named | {name: getattr(self, name) for name in type(self).model_fields}

    def __str__(self) -> str:
        given = ", ".join(f"{k}={v}" for k, v in self if v != type(self).model_fields[k].default)
        return f"{self.kind or type(self).__name__}({given})"


def named(family: type[Choice], name: str) -> Callable[[F], F]:
    """Registers a function with keyword-only arguments that returns a configured member of `family`."""

    def register(make: F) -> F:
        family._register(name, make)
        return make

    return register


def build(make: Callable[..., Any], fields: Mapping[str, Any]) -> Any:
    """Calls a registered class or function, turning an unknown argument of a function into `InvalidRecipe`."""
    if isinstance(make, type):
        return make(**fields)
    allowed = list(make.__kwdefaults__ or {})
    for name in fields:
        if name not in allowed:
            raise InvalidRecipe(unknown("field", name, allowed))
    return make(**fields)


def discover(package: str) -> None:
    """Imports every module of `package` that is not private."""
    root = sys.modules.get(package) or importlib.import_module(package)
    for module in pkgutil.iter_modules(getattr(root, "__path__", [])):
        if not module.name.startswith("_"):
            importlib.import_module(f"{package}.{module.name}")


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The sentence for a name that does not exist: nearest names first, else all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(known) or 'none'}"
    return f"unknown {what} {name!r}; {hint}"


def _hinted(cls: type[Choice], fields: dict[str, Any], handler: Callable[[Any], Any]) -> Any:
    """`handler(fields)`; a field that does not exist is reported with the nearest that do, beside all other faults."""
    try:
        return handler(fields)
    except ValidationError as error:
        faults: list[InitErrorDetails] = []
        for fault in error.errors(include_url=False):
            said = fault["msg"]
            if fault["type"] == "extra_forbidden" and len(fault["loc"]) == 1:
                hint = unknown("field", str(fault["loc"][0]), cls.model_fields).partition("; ")[2]
                said = f"no such field; {hint}"
            kind = "no_such_field" if fault["type"] == "extra_forbidden" else fault["type"]
            faults.append(
                {"type": PydanticCustomError(kind, "{said}", {"said": said}), "loc": fault["loc"], "input": fault["input"]}
            )
        raise ValidationError.from_exception_data(cls.__name__, faults) from None


def explain(error: ValidationError, what: str) -> str:
    """One line per fault: where, what was found, what is allowed."""
    lines = []
    for fault in error.errors(include_url=False):
        where = ".".join(str(part) for part in fault["loc"]) or what
        message = fault["msg"].removeprefix("Value error, ")
        found = fault.get("input")
        shown = "" if isinstance(found, Mapping | BaseModel) else f" (found {found!r})"
        lines.append(f"{where}: {message}{shown}")
    return "\n".join(lines)
