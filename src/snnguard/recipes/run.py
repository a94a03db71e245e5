"""A run: the folder that training writes, evaluation reads, and a report is made from.

recipe.json         the resolved recipe; a folder that holds another one is refused
metrics.jsonl       one line per epoch
state.safetensors   what an interrupted training goes on from (and state.previous.safetensors)
model.safetensors   the weights, with their card inside; model.json is the same card, to read
evaluation.json     the record of `evaluate`; of other suites and splits evaluation-SUITE-SPLIT.json
substitutes/        runs of their own, for attacks by transfer (`substitute`)
unfinished/         what interrupted evaluations go on from
.lock               held by the process that trains
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from snnguard import rng
from snnguard.data import Dataset, default_augmentation, load
from snnguard.errors import CheckpointError, RunFolderError
from snnguard.evaluation.provenance import versions
from snnguard.networks import SpikingClassifier, construct
from snnguard.record import read_json, write_atomic
from snnguard.training import Outcome, fit, load_weights, read_tensors, write_tensors
from snnguard.training.fit import SILENT, Report

from .recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Run:
    """A folder with a recipe in it; `outcome` is what the call of `train` that returned it came to."""

    folder: Path
    recipe: Recipe
    outcome: Outcome | None = None

    @property
    def trained(self) -> bool:
        """Whether the final weights are there."""
        return (self.folder / "model.safetensors").exists()

    def epochs(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`; a half-written last one is left out."""
        path = self.folder / "metrics.jsonl"
        lines = []
        for text in path.read_text().splitlines() if path.exists() else []:
            with contextlib.suppress(json.JSONDecodeError):
                lines.append(json.loads(text))
        return lines

    def model(self, dataset: Dataset) -> tuple[SpikingClassifier, str]:
        """The trained network in eval mode, and the checksum of its weights.

        Raises `CheckpointError` if there is none, if it is damaged, or if `dataset` is not what it was trained on.
        """
        path = self.folder / "model.safetensors"
        if not path.exists():
            raise CheckpointError(f"{self.folder} has no trained model yet; finish it with: snnguard train")
        try:
            tensors, card = read_tensors(path)
        except CheckpointError as error:
            raise CheckpointError(f"{error}. The training command writes it again from {self.folder}'s state") from None
        if card["data"] != dataset.describe():
            raise CheckpointError(f"{self.folder} was trained on other images: {card['data']}; found {dataset.describe()}")
        model = build(self.recipe, dataset)
        load_weights(model, tensors, path)
        return model.eval(), str(card["sha256"])


def build(recipe: Recipe, dataset: Dataset) -> SpikingClassifier:
    """The untrained network of a recipe, as its defense designs it."""
    return construct(
        recipe.defense.design(recipe.network), classes=dataset.classes, image_shape=dataset.image_shape,
        mean=dataset.mean, std=dataset.std, seed=rng.derive(recipe.seed, "network"),
    )  # fmt: skip


def open_run(folder: Path | str, *, data_path: str | None = None) -> Run:
    """The run in an existing folder, its images read from `data_path` if given. Raises `RunFolderError` if it is none."""
    folder = Path(folder)
    path = folder / "recipe.json"
    if not path.exists():
        raise RunFolderError(f"{folder} is no run folder: it has no recipe.json; make one with: snnguard train RECIPE")
    recipe = Recipe.parse(read_json(path))
    if data_path is not None:
        recipe = Recipe.parse({**recipe.to_json(), "data": {**recipe.data.to_json(), "path": data_path}})
    return Run(folder=folder, recipe=recipe)


def start(recipe: Recipe, folder: Path) -> Run:
    """A run folder for `recipe`, new or left by an earlier call with the same recipe. Raises `RunFolderError`."""
    path = folder / "recipe.json"
    if path.exists():
        # Where the images lie may change; that they are the same ones, training and judging check by their content.
        silent = {"data.path", *(f"training.{name}" for name in SILENT)}
        where = [path for path in differences(recipe.to_json(), open_run(folder).recipe.to_json()) if path not in silent]
        if where:
            said = f"{folder} belongs to another recipe (they differ in {', '.join(where[:6])})"
            raise RunFolderError(f"{said}; choose another folder, or delete it")
    elif folder.exists() and any(not entry.name.startswith(".recipe.json.") for entry in folder.iterdir()):
        raise RunFolderError(f"{folder} is not empty and holds no run; choose another folder")
    write_atomic(path, json.dumps(recipe.to_json(), indent=1).encode())
    return Run(folder=folder, recipe=recipe)


def train(recipe: Recipe, *, out: Path | str, report: Report | None = None, dataset: Dataset | None = None) -> Run:
    """Trains what `recipe` says into the folder `out`, going on where an earlier call with the same recipe stopped.

    Teachers that the defense asks for are trained first, with the same recipe but their own defense, in `out/teacher-NAME`.
    """
    dataset = dataset or load(recipe.data)
    run = start(recipe, Path(out))
    with claimed(run.folder):
        return _train(run, dataset, report)


def _train(run: Run, dataset: Dataset, report: Report | None) -> Run:
    recipe = run.recipe
    for left in run.folder.glob(".*.safetensors.*"):
        left.unlink(missing_ok=True)  # what a kill during a write leaves
    teachers: dict[str, SpikingClassifier] = {}
    for name, defense in recipe.defense.teachers().items():
        lesson = recipe.model_copy(update={"name": f"{recipe.name}-teacher-{name}", "defense": defense})
        teacher = train(lesson, out=run.folder / f"teacher-{name}", report=report, dataset=dataset)
        teachers[name], _ = teacher.model(dataset)
    model = build(recipe, dataset)
    augmentation = default_augmentation(recipe.data) if recipe.augmentation is None else recipe.augmentation
    outcome = fit(
        model, dataset.train, dataset.validation, defense=recipe.defense, training=recipe.training,
        augmentation=augmentation, seed=recipe.seed, out=run.folder, report=report, teachers=teachers,
    )  # fmt: skip
    if outcome.finished:
        card: dict[str, Any] = {"recipe": recipe.to_json(), "data": dataset.describe(), "labels": list(dataset.labels)}
        card |= {"mean": list(dataset.mean), "std": list(dataset.std), "image_shape": list(dataset.image_shape)}
        card |= {"versions": versions(), "epochs": len(outcome.lines)}
        checksum = write_tensors(run.folder / "model.safetensors", model.state_dict(), card)
        write_atomic(run.folder / "model.json", json.dumps({**card, "sha256": checksum}, indent=1).encode())
    return replace(run, outcome=outcome)


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Within the block no other process may train in `folder`; the claim dies with its process, however that ends.

    Raises `RunFolderError` if another one has it.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise RunFolderError(f"another process is training in {folder}; wait for its end, or choose another folder") from None
    try:
        yield
    finally:
        lock.release()


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """The dotted paths at which two JSON values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        found: list[str] = []
        for key in sorted(one.keys() | other.keys()):
            found += differences(one.get(key), other.get(key), f"{path}.{key}" if path else key)
        return found
    return [] if one == other else [path]
