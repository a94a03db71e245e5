"""A sweep: many recipes trained and judged side by side, each in a run folder of its own, each leaving one record.

    OUT/runs/NAME       the run folders, from which an interrupted sweep goes on
    OUT/NAME.json       the records

A cell is a recipe with one value for each swept field. Its name is the recipe's, then field=value for each of them.
"""

import fnmatch
import itertools
import json
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch

from snnguard.errors import SNNGuardError, UnknownName
from snnguard.record import Record, read_json

from .judge import judge, shareable
from .recipe import Recipe, names, read
from .run import differences, open_run, train

Report = Callable[[str, str, int, int], None]
"""Called with a cell's name, what became of it, and how many of how many are done."""


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

    A setting `field=value` holds for all; `field=a,b,c` is swept. Raises `UnknownName` for a pattern without a match.
    """
    found = [name for source in sources for name in _matching(source)]
    fixed = [text for text in settings if len(_choices(text)) == 1]
    swept = [_choices(text) for text in settings if len(_choices(text)) > 1]
    made = []
    for source in dict.fromkeys(found):
        for chosen in itertools.product(*swept):
            recipe = read(source, [*fixed, *chosen])
            values = tuple((path, value) for path, _, value in (text.partition("=") for text in chosen))
            label = "".join(f" {path.rpartition('.')[2]}={value}" for path, value in values)
            made.append(Cell(recipe=recipe.model_copy(update={"name": f"{recipe.name}{label}"}), values=values))
    return made


def run(
    chosen: Sequence[Cell], *, out: Path, judging: Judging, jobs: int = 1, report: Report | None = None
) -> tuple[list[Record], dict[str, str]]:
    """Trains and judges every cell, `jobs` at a time; cells that are done already are only read.

    The records in the order of the cells, and what went wrong by the names of the cells that failed: one that fails does
    not keep the others from their end.
    """
    failed: dict[str, str] = {}
    say = report or (lambda *_: None)
    with ProcessPoolExecutor(max_workers=jobs, mp_context=get_context("spawn"), initializer=_worker, initargs=(jobs,)) as pool:
        waiting = {pool.submit(_one, cell.recipe.to_json(), out, judging): cell.recipe.name for cell in chosen}
        try:
            for done, future in enumerate(as_completed(waiting), 1):
                name, error = waiting[future], future.result()
                if error:
                    failed[name] = error
                say(name, error or "done", done, len(chosen))
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise
    kept = [cell for cell in chosen if cell.recipe.name not in failed]
    return [Record.load(record_of(cell.recipe, out)) for cell in kept], failed


def record_of(recipe: Recipe, out: Path) -> Path:
    """Where the record of a cell lies."""
    return out / f"{_file_name(recipe.name)}.json"


def _one(recipe_json: dict[str, object], out: Path, judging: Judging) -> str:
    """Trains and judges one cell in a process of its own; the message of what went wrong, or nothing."""
    recipe = Recipe.parse(recipe_json)
    record = record_of(recipe, out)
    folder = out / "runs" / _file_name(recipe.name)
    try:
        if not _judged(record, recipe, judging):
            if not (folder / "model.safetensors").exists():
                train(recipe, out=folder)
            judge(
                open_run(folder, data_path=recipe.data.path), suite_name=judging.suite, images=judging.images,
                split=judging.split, seed=judging.seed, draws=judging.draws, out=record, exhibits=False,
            )  # fmt: skip
    except SNNGuardError as error:
        return str(error)
    return ""


def _judged(path: Path, recipe: Recipe, judging: Judging) -> bool:
    """Whether the record at `path` is of this recipe and was judged in this way."""
    if not path.exists():
        return False
    found = read_json(path)
    asked = json.loads(json.dumps(shareable(recipe)))
    made = found["provenance"]
    judged = f"judged: {found['clean']['n']} {judging.split} images"
    return (
        made["recipe"] is not None
        and not differences(asked, made["recipe"])
        and made["data"].endswith(judged)
        and (judging.images is None or found["clean"]["n"] <= judging.images)
        and (found["suite"], made["seed"]) == (judging.suite, judging.seed)
    )


def _worker(jobs: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))


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


def _file_name(name: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "-_.=" else "_" for sign in name)
