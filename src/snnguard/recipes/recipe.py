"""A recipe: one value that names everything a result depends on."""

import copy
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import Field

from snnguard.choice import Choice, discover, unknown
from snnguard.data import Augmentation, Data
from snnguard.defenses import Defense, Stack
from snnguard.errors import InvalidRecipe, UnknownName
from snnguard.networks import Network
from snnguard.threat import Linf, Threat
from snnguard.training import Training


class Recipe(Choice):
    """Data, network, defense, training, seed; and the threat that the result is to be judged under.

    `augmentation` None takes the data set's own. The defense may change the network's description when it is built.
    """

    name: str = Field(min_length=1)
    data: Data = Data()
    augmentation: Augmentation | None = None
    network: Network = Network(name="vgg4-tiny")
    defense: Defense = Stack()
    training: Training = Training()
    threat: Threat = Linf(eps=8 / 255)
    seed: int = Field(default=0, ge=0)

    def to_toml(self) -> str:
        """TOML text that `read` turns back into an equal recipe."""
        return tomli_w.dumps(_without_none(self.to_json()))


_built_in: dict[str, Any] = {}


def recipe(make: Any) -> Any:
    """Registers a function without arguments under the name of the recipe that it returns."""
    _built_in[make().name] = make
    return make


def names() -> list[str]:
    """The built-in recipes."""
    discover(__name__.rpartition(".")[0])
    return sorted(_built_in)


def get(name: str) -> Recipe:
    """The built-in recipe called `name`. Raises `UnknownName` with the nearest names."""
    if name not in names():
        raise UnknownName(unknown("recipe", name, names()) + "; or give the path of a TOML file")
    made: Recipe = _built_in[name]()
    return made


def read(source: str, overrides: Sequence[str] = ()) -> Recipe:
    """A built-in recipe or a TOML file, changed by overrides such as `training.epochs=3` or `defense.eta=1`.

    Raises `InvalidRecipe` or `UnknownName` that say where, what was found and what is allowed.
    """
    data = _read_toml(Path(source)) if source.endswith(".toml") else get(source).to_json()
    return Recipe.parse(overridden(data, overrides))


def overridden(data: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of JSON data with dotted paths set, each given as `path=value`. Raises `InvalidRecipe`."""
    data = copy.deepcopy(data)
    for override in overrides:
        _apply(data, override)
    return data


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise InvalidRecipe(f"no recipe file {path}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidRecipe(f"{path} is not readable as TOML: {error}") from None


def _apply(data: dict[str, Any], override: str) -> None:
    """Sets one dotted path; lists are entered by index."""
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise InvalidRecipe(f"an override looks like training.epochs=3; found {override!r}")
    *parents, last = path.split(".")
    place: Any = data
    for depth, key in enumerate(parents):
        place = _enter(place, key, ".".join(parents[: depth + 1]))
    value = _value(text)
    if isinstance(place, list):
        place[_index(place, last, path)] = value
    elif isinstance(place, dict):
        if place.get("kind") == "stack" and last not in ("kind", "parts"):
            where = ".".join([*parents, "parts"])
            parts = ", ".join(f"{where}.{i} is {part['kind']}" for i, part in enumerate(place["parts"])) or "it has none yet"
            raise InvalidRecipe(f"{path}: a stack has parts, and {last} belongs to one of them; {parts}")
        if last == "kind" and place.get("kind") != value:
            place.clear()  # the fields of another kind are not its own
        place[last] = value
    else:
        raise InvalidRecipe(f"{path}: {'.'.join(parents)} is {place!r} and has no fields")


def _enter(place: Any, key: str, path: str) -> Any:
    if isinstance(place, list):
        return place[_index(place, key, path)]
    if isinstance(place, dict):
        if place.get(key) is None or isinstance(place[key], str):
            # An absent choice, or one given by its bare name, becomes a table that can be filled.
            place[key] = {"kind": place[key]} if isinstance(place.get(key), str) else {}
        return place[key]
    raise InvalidRecipe(f"{path}: no such field in {place!r}")


def _index(place: list[Any], key: str, path: str) -> int:
    if not key.isdigit() or int(key) >= len(place):
        raise InvalidRecipe(f"{path}: " + (f"there are entries 0 to {len(place) - 1}" if place else "the list is empty"))
    return int(key)


def _value(text: str) -> Any:
    """A JSON value, else the text itself; 8/255 is a fraction."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        above, slash, below = text.partition("/")
        try:
            return float(above) / float(below) if slash else text
        except (ValueError, ZeroDivisionError):
            return text


def _without_none(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _without_none(value) for key, value in data.items() if value is not None}
    if isinstance(data, list):
        return [_without_none(value) for value in data]
    return data
