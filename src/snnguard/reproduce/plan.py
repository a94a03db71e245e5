"""From tables and a scale to the networks that have to be trained, each once, however many tables and seeds ask for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from snnguard.choice import unknown
from snnguard.errors import RequestError, UnknownName
from snnguard.recipes import Recipe, overridden
from snnguard.record import Record

from .item import Cell, Claim, Item, Pair, Setting
from .job import SPIKE, TWIN, Job, Judgement, named
from .scale import Scale

AXES = ("dataset", "network", "training", "method", "attack")
"""What a request can be narrowed by."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """How tables are asked for. `only` narrows axes to some of their values; None takes the scale's own numbers.

    `settings` are overrides for every recipe, such as `training.epochs=1`, of which the tables then speak.
    """

    scale: Scale
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    images: int | None = None
    spike: bool = True
    spike_images: int | None = None
    data_path: str | None = None
    settings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A table, cut down to what was asked for and to what the scale can tell apart, with the recipe of every network."""

    item: Item
    scale: Scale
    recipes: Mapping[tuple[Setting, int], Recipe]
    judgements: tuple[Judgement, ...]
    settings: tuple[str, ...] = ()

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(seed for _, seed in self.recipes))

    def records(self, setting: Setting, out: Path, *, spike: bool = False) -> dict[int, Record]:
        """The records that are there, by seed."""
        found = {}
        for judgement in self.judgements:
            if (judgement.suite == SPIKE) == spike:
                for seed in self.seeds:
                    path = judgement.path(out, self.recipes[setting, seed].name)
                    if path.exists():
                        found[seed] = Record.load(path)
        return found


def choose(item: Item, request: Request) -> Chosen:
    """Raises `UnknownName` for a value that no cell of the table has, `RequestError` if nothing is left."""
    cells = narrowed(item, request.only)
    seeds = request.seeds or tuple(range(request.scale.seeds))
    recipes: dict[tuple[Setting, int], Recipe] = {}
    seen: dict[str, Setting] = {}
    for setting in dict.fromkeys(cell.setting for cell in cells):
        made = {seed: _recipe(setting, seed, request) for seed in seeds}
        if seen.setdefault(made[seeds[0]].name, setting) == setting:
            recipes |= {(setting, seed): recipe for seed, recipe in made.items()}
    kept = tuple(cell for cell in cells if (cell.setting, seeds[0]) in recipes)
    columns = tuple(dict.fromkeys((cell.attack, cell.gradient) for cell in kept))
    images = request.images or request.scale.images
    transfer = (TWIN,) if any(column.startswith(("twin:", "check:")) for column, _ in columns) else ()
    judgements = [Judgement(suite=item.name, columns=columns, images=images, transfer=transfer)]
    if request.spike:
        images = request.spike_images or request.scale.spike_images
        steps, queries = request.scale.spike_steps, request.scale.spike_queries
        judgements.append(Judgement(suite=SPIKE, images=images, steps=steps, queries=queries))
    return Chosen(
        item=replace(item, cells=kept, claims=_of(item, kept, narrowed=len(cells) < len(item.cells))),
        scale=request.scale, recipes=recipes,
        judgements=tuple(judgements), settings=request.settings,
    )  # fmt: skip


def narrowed(item: Item, only: Mapping[str, tuple[str, ...]]) -> tuple[Cell, ...]:
    """The cells of the values that were asked for; clean accuracy always stays."""
    for axis, values in only.items():
        there = sorted({_value(cell, axis) for cell in item.cells})
        for value in values:
            if value not in there:
                raise UnknownName(unknown(f"{axis} of {item.name}", value, there))
    kept = tuple(
        cell for cell in item.cells
        if all(_value(cell, axis) in values or (axis, cell.attack) == ("attack", "clean") for axis, values in only.items())
    )  # fmt: skip
    if not kept:
        asked = ", ".join(f"{axis} {'/'.join(values)}" for axis, values in only.items())
        raise RequestError(f"{item.name} has no cell with {asked} together")
    return kept


def jobs(chosen: Sequence[Chosen]) -> list[Job]:
    """Every network once, the judgements of all tables on it. Seeds come one after the other, so that a grid that is stopped
    has whole tables of few seeds and no half tables of many."""
    asked: dict[str, tuple[int, Recipe, dict[Judgement, None]]] = {}
    for one in chosen:
        for (_, seed), recipe in one.recipes.items():
            _, _, judgements = asked.setdefault(recipe.name, (seed, recipe, {}))
            judgements.update(dict.fromkeys(one.judgements))
    ordered = sorted(asked.values(), key=lambda entry: entry[0])
    return [Job(recipe=recipe, judgements=tuple(judgements)) for _, recipe, judgements in ordered]


def _recipe(setting: Setting, seed: int, request: Request) -> Recipe:
    recipe = request.scale.recipe(setting, seed)
    if request.settings:
        recipe = Recipe.parse(overridden(recipe.to_json(), request.settings))
    if request.data_path is not None and recipe.data.name != "digits":
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"path": request.data_path})})
    return named(recipe)


def _value(cell: Cell, axis: str) -> str:
    return str(cell.attack if axis == "attack" else getattr(cell.setting, axis))


def _of(item: Item, cells: Sequence[Cell], *, narrowed: bool) -> tuple[Claim, ...]:
    """The claims as far as their cells are there; where a request left some out, a claim does not speak of the whole."""
    there = set(cells)

    def known(pair: Pair) -> bool:
        return all(isinstance(side, float) or side in there for side in (pair.more, pair.less))

    found = (replace(c, whole=not narrowed, pairs=tuple(p for p in c.pairs if known(p))) for c in item.claims)
    return tuple(claim for claim in found if claim.pairs)
