"""One network of a grid, from its training to its records; whoever does it again finds what is there.

    OUT/networks/NAME/          the run folder; the name ends in a hash of everything that the weights depend on
    OUT/records/NAME/SUITE.json one record per judgement, by a hash of what was asked

So tables share networks without knowing of each other, and a grid that was killed goes on where it was.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from snnguard.data import Dataset, load
from snnguard.defenses import Defense, Stack
from snnguard.errors import SNNGuardError
from snnguard.evaluation import Attacker, Suite
from snnguard.evaluation import suite as named_suite
from snnguard.evaluation.suites import spike
from snnguard.findings import Surface
from snnguard.recipes import Recipe, Run, judge, open_run, substitute, train
from snnguard.record import write_atomic
from snnguard.training import resolve_device
from snnguard.training.fit import SILENT

from . import measure
from .landscape import landscape, roughness

SPIKE, CHECKS = "spike", "checks"
TWIN = "twin"


class Busy(SNNGuardError):
    """Another process has this network in hand; messages begin with `said`."""

    said = "another process has "


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What is asked of a network: the columns (attack and gradient) of a table, or the suite `spike`, perhaps a short one.

    `transfer` are the substitutes that its attackers have.
    """

    suite: str
    columns: tuple[tuple[str, str], ...] = ()
    images: int | None = None
    draws: int | None = None
    steps: int = 100
    queries: int = 5000
    transfer: tuple[str, ...] = ()

    def path(self, out: Path, network: str) -> Path:
        suite = self.making(Attacker(substitutes=self.transfer)).to_json()
        asked = json.dumps([suite, self.columns, self.images, self.draws, self.transfer])
        return out / "records" / network / f"{self.suite.replace('/', '-')}-{_hash(asked)}.json"

    def making(self, attacker: Attacker) -> Suite:
        """The suite of the columns; with a check among them, the suite that the checks need."""
        if not self.columns:
            return spike(attacker, steps=self.steps, queries=self.queries)
        if any(column.startswith("check:") for column, _ in self.columns):
            return named_suite(CHECKS, attacker=attacker)
        return measure.suite(self.suite, self.columns, attacker)


@dataclass(frozen=True, kw_only=True)
class Job:
    """A network, and the judgements that are asked of it."""

    recipe: Recipe
    judgements: tuple[Judgement, ...]

    @property
    def substitutes(self) -> tuple[str, ...]:
        """What the attackers of some judgement train."""
        return tuple(dict.fromkeys(kind for judgement in self.judgements for kind in judgement.transfer))

    @property
    def name(self) -> str:
        return self.recipe.name

    def folder(self, out: Path) -> Path:
        return out / "networks" / self.name

    def done(self, out: Path) -> bool:
        return all(judgement.path(out, self.name).exists() for judgement in self.judgements)


def named(recipe: Recipe) -> Recipe:
    """The recipe under a name that says what it is and ends in a hash of all that its weights depend on."""
    network = f"{recipe.data.name}-{recipe.network.name}-T{recipe.network.steps}-{short(recipe.defense)}-seed{recipe.seed}"
    return recipe.model_copy(update={"name": f"{network}-{content(recipe)}"})


def short(defense: Defense) -> str:
    """`adversarial-training+mpd-sgr`: the parts by their names."""
    if isinstance(defense, Stack):
        return "+".join(short(part) for part in defense.parts) or "undefended"
    return defense.kind


UNSAID: dict[str, Any] = {"devices": 1, "max_steps": None, "probe_size": 256}
"""Settings of training that may differ in a resumed run and yet belong to what a network is; unsaid at these values."""


def content(recipe: Recipe) -> str:
    """A hash of the recipe without its name, where its images lie, and what does not change the weights."""
    said: dict[str, Any] = {key: value for key, value in recipe.to_json().items() if key != "name"}
    said["data"] = {key: value for key, value in said["data"].items() if key not in ("path", "note")}
    said["training"] = {
        key: value for key, value in said["training"].items()
        if (value != UNSAID[key] if key in UNSAID else key not in SILENT)
    }  # fmt: skip
    return _hash(json.dumps(said, sort_keys=True))


def run(job: Job, out: Path, wait: bool = True) -> None:
    """Trains and judges; what is there already is left as it is. One process at a time has a network.

    Raises `Busy` where another one has it, unless it is to `wait`; then it finds the work done.
    """
    if not job.done(out):
        with _held(job, out, wait=wait):
            _run(job, out)


@contextlib.contextmanager
def _held(job: Job, out: Path, *, wait: bool) -> Iterator[None]:
    """Within the block no other process has the network in hand."""
    (out / "locks").mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / "locks" / f"{job.name}.lock", timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout:
        raise Busy(f"{Busy.said}{job.name} in hand") from None
    try:
        yield
    finally:
        lock.release()


def _run(job: Job, out: Path) -> None:
    if job.done(out):
        return
    dataset = load(job.recipe.data)
    folder = job.folder(out)
    _trained(job.recipe, folder, dataset)
    found = open_run(folder, data_path=job.recipe.data.path)
    for kind in job.substitutes:
        _trained(*substitute(found, kind), dataset)
    for judgement in job.judgements:
        path = judgement.path(out, job.name)
        if not path.exists():
            _judge(found, judgement, path, dataset)


def _trained(recipe: Recipe, folder: Path, dataset: Dataset) -> None:
    if not (folder / "model.safetensors").exists():  # written last
        train(recipe, out=folder, dataset=dataset)


def _judge(run: Run, judgement: Judgement, path: Path, dataset: Dataset) -> None:
    """Leaves the record at `path` once all of it is there."""
    unfinished = path.with_name(f".{path.name}")
    record = judge(
        run, suite_name=judgement.suite, making=judgement.making, images=judgement.images, draws=judgement.draws,
        transfer=judgement.transfer,
        dataset=dataset, exhibits=False, out=unfinished,
    )  # fmt: skip
    if any(column == measure.ROUGHNESS for column, _ in judgement.columns):
        surface = _landscape(run, dataset, len(record.clean), draws=judgement.draws or (10 if record.stochastic else 1))
        measures = {**record.measures, measure.ROUGHNESS: roughness(surface)}
        record = replace(record, measures=measures, notes={**record.notes, "landscape": asdict(surface)})
    record.save(path)
    unfinished.unlink()


def _landscape(run: Run, dataset: Dataset, images: int, *, draws: int) -> Surface:
    model, _ = run.model(dataset)
    device = resolve_device(run.recipe.training.device)
    x, y = dataset.test.pixels(slice(0, images), device), dataset.test.labels[:images].to(device)
    return landscape(model.to(device), x, y, threat=run.recipe.threat, draws=draws, seed=0)


def adopt(jobs: Sequence[Job], runs: Sequence[Path], out: Path) -> list[str]:
    """Copies trained run folders that hold exactly what a job would train; the names of those jobs.

    Raises `RunFolderError` for a folder that is no run.
    """
    by_content = {content(run.recipe): run for run in (open_run(path) for path in runs) if run.trained}
    taken = []
    for job in jobs:
        run = by_content.get(content(job.recipe))
        if run is not None:
            with _held(job, out, wait=True):
                taken += [job.name] if _copied(run, job, out) else []
    return taken


def _copied(run: Run, job: Job, out: Path) -> bool:
    """The weights come last: with them the folder counts as trained."""
    folder = job.folder(out)
    if (folder / "model.safetensors").exists():
        return False
    write_atomic(folder / "recipe.json", json.dumps(job.recipe.to_json(), indent=1).encode())
    for name in ("metrics.jsonl", "model.json", "model.safetensors"):
        write_atomic(folder / name, (run.folder / name).read_bytes())
    return True


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=5).hexdigest()
