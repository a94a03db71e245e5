"""A sweep: many recipes trained and judged side by side, each in a run folder of its own, each leaving one record.

    OUT/runs/NAME       the run folders, from which an interrupted sweep goes on
    OUT/NAME.json       the records

A cell is a recipe with one value for each swept field. Its name is the recipe's, then field=value for each of them.
"""

import dataclasses
import fnmatch
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snnguard.data import load
from snnguard.errors import RequestError, UnknownName
from snnguard.evaluation import suite
from snnguard.record import Record, read_json

from . import pool
from .judge import judge, shareable
from .pool import Report
from .recipe import Recipe, names, read
from .run import differences, open_run, train


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One network of a sweep; `values` are the swept fields with their text."""

    recipe: Recipe
    values: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Judging:
    """How every cell of a sweep is judged."""

    suite: str = "paper"
    images: int | None = None
    split: str = "test"
    seed: int = 0
    draws: int | None = None


def cells(sources: Sequence[str], settings: Sequence[str] = ()) -> list[Cell]:
    """Every recipe that `sources` name (built-in names, patterns such as `digits-*`, TOML files), times every combination.

    A setting `field=value` holds for all; `field=a,b,c` is swept. Raises `UnknownName` for a pattern without a match and
    `RequestError` where two cells would have the same name.
    """
    found = [name for source in sources for name in _matching(source)]
    fixed = [text for text in settings if len(_choices(text)) == 1]
    swept = [_choices(text) for text in settings if len(_choices(text)) > 1]
    shown = _short([choices[0].partition("=")[0] for choices in swept])
    made: dict[str, Cell] = {}
    for source in dict.fromkeys(found):
        for chosen in itertools.product(*swept):
            recipe = read(source, [*fixed, *chosen])
            values = tuple((path, value) for path, _, value in (text.partition("=") for text in chosen))
            label = "".join(f" {shown[path]}={value}" for path, value in values)
            cell = Cell(recipe=recipe.model_copy(update={"name": f"{recipe.name}{label}"}), values=values)
            if made.setdefault(_file_name(cell.recipe.name), cell) is not cell:
                raise RequestError(f"two cells are called {cell.recipe.name!r}; give their recipes different names")
    return list(made.values())


def run(
    chosen: Sequence[Cell], *, out: Path, judging: Judging, jobs: int = 1, report: Report | None = None
) -> tuple[list[Record], dict[str, str]]:  # fmt: skip
    """Trains and judges every cell, `jobs` at a time; cells that are done already are only read.

    The records in the order of the cells, and what went wrong by the names of the cells that failed (`pool.run`). Raises
    `UnknownName` before anything is trained if there is no such suite.
    """
    suite(judging.suite)
    work = {cell.recipe.name: (cell.recipe.to_json(), out, judging) for cell in chosen}
    failed = pool.run(_one, work, jobs=jobs, report=report)
    kept = [cell for cell in chosen if cell.recipe.name not in failed]
    return [Record.load(record_of(cell.recipe, out)) for cell in kept], failed


def record_of(recipe: Recipe, out: Path) -> Path:
    """Where the record of a cell lies."""
    return out / f"{_file_name(recipe.name)}.json"


def _one(recipe_json: dict[str, object], out: Path, judging: Judging) -> None:
    _train_and_judge(Recipe.parse(recipe_json), out, judging)


def _train_and_judge(recipe: Recipe, out: Path, judging: Judging) -> None:
    dataset = load(recipe.data)
    path, request = record_of(recipe, out), dataclasses.asdict(judging)
    if _judged(path, recipe, request, dataset.describe()):
        return
    folder = out / "runs" / _file_name(recipe.name)
    train(recipe, out=folder, dataset=dataset)  # at once where it is finished; refused where the folder is another's
    record = judge(
        open_run(folder, data_path=recipe.data.path), suite_name=judging.suite, images=judging.images, split=judging.split,
        seed=judging.seed, draws=judging.draws, dataset=dataset, exhibits=False,
    )  # fmt: skip
    dataclasses.replace(record, notes={**record.notes, "request": request}).save(path)


def _judged(path: Path, recipe: Recipe, request: dict[str, Any], data: str) -> bool:
    """Whether the record at `path` is of this recipe on this data, judged as requested."""
    if not path.exists():
        return False
    found = read_json(path)
    made = found["provenance"]
    alike = not differences(shareable(recipe), made["recipe"]) and made["data"].startswith(data)
    return alike and found.get("notes", {}).get("request") == request


def _matching(source: str) -> list[str]:
    if source.endswith(".toml"):
        return [source]
    found = fnmatch.filter(names(), source)
    if not found and any(sign in source for sign in "*?["):
        raise UnknownName(f"no built-in recipe matches {source!r}; snnguard list recipes shows them")
    return found or [source]  # a name that does not exist is refused by `read`, with the nearest ones


def _choices(setting: str) -> list[str]:
    """`field=a,b` as [`field=a`, `field=b`]; commas inside brackets or quotes belong to the value."""
    path, _, text = setting.partition("=")
    parts, depth, quoted, current = [], 0, False, ""
    for sign in text:
        quoted ^= sign == '"'
        depth += (sign in "[{") - (sign in "]}")
        if sign == "," and depth == 0 and not quoted:
            parts.append(current)
            current = ""
        else:
            current += sign
    return [f"{path}={part}" for part in [*parts, current]]


def _short(paths: Sequence[str]) -> dict[str, str]:
    """Each path by its last part, or whole where that would not tell two apart."""
    last = [path.rpartition(".")[2] for path in paths]
    return {path: end if last.count(end) == 1 else path for path, end in zip(paths, last, strict=True)}


def _file_name(name: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "-_.=" else "_" for sign in name)
