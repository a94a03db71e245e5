"""A trained run, judged: verdicts, membranes, curve and pictures in one record."""

import json
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snnguard import rng
from snnguard.analysis import curve, membranes
from snnguard.attacks import APGD, PGD, Attack, InputGradient, Model, fgsm
from snnguard.data import Dataset, Split, load
from snnguard.evaluation import Attacker, Shard, Suite, evaluate, gather, pictures, suite, tune
from snnguard.evaluation.evaluate import Report
from snnguard.evaluation.partial import digest
from snnguard.evaluation.suites import CASCADES, TUNED
from snnguard.record import Curve, Picture, Record, read_json, write_atomic
from snnguard.threat import Threat
from snnguard.training import resolve_device

from .recipe import Recipe
from .run import Run
from .substitute import substitutes

HELD_OUT = 64
"""How many images the attacker tunes on."""

CURVE_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0)
"""Radii of the curve, as shares of the threat's eps."""


def judge(
    run: Run, *, suite_name: str = "paper", images: int | None = None, split: str = "test", seed: int = 0,
    draws: int | None = None, batch_size: int = 128, dataset: Dataset | None = None, report: Report | None = None,
    out: Path | None = None, exhibits: bool = True, shard: Shard | None = None, full: bool = False,
    making: Callable[[Attacker], Suite] | None = None, transfer: Collection[str] | None = None,
) -> Record:  # fmt: skip
    """Judges the network of a run on the first `images` of a split and saves the record as `evaluation.json`.

    The test split is for the last word; choose hyper-parameters with `split="validation"` (saved under its own name).
    A random network is attacked with gradients averaged over `draws` (default 10). A suite that asks which constants suit
    the model tunes them on `HELD_OUT` validation images, or on training images where the validation images are judged, and
    notes it. Substitutes that `snnguard substitute` has trained for the run take part. With a `shard` only its share of
    the images is judged; `evaluation.merged` puts the parts together. Without `exhibits` the record has the verdicts and the
    membranes alone: no curve and no pictures, which cost as much as a few attacks. With `full` a cascade runs every attack on
    every image that is right clean, for columns that can be compared: the same worst case for more (of a random model the same
    but for its draws). `making` makes a suite of one's own, which `suite_name` then only names; `transfer` names
    the substitutes that take part, where it is not all that are there.
    """
    recipe = run.recipe
    dataset = dataset or load(recipe.data)
    device = resolve_device(recipe.training.device)
    model, checksum = run.model(dataset)
    model.to(device)
    part = dataset.test if split == "test" else dataset.validation
    asked = torch.arange(min(images or len(part), len(part)))
    chosen = asked if shard is None else asked[shard.index :: shard.of]
    x, y = part.pixels(chosen, device), part.labels[chosen].to(device)
    others = {name: other.to(device) for name, other in substitutes(run, dataset, only=transfer).items()}
    attacker = Attacker(draws=draws or (10 if model.stochastic else 1), substitutes=tuple(others))
    name = file_name(suite_name, split, shard, full=full)
    # A folder for each command: who finishes deletes his own, and leaves alone what else of this run is being judged.
    command = digest(None, [], [images, seed, attacker.draws, batch_size])
    unfinished = run.folder / "unfinished" / f"{Path(name).stem}-{command}"
    notes: dict[str, Any] = {} if shard is None else {"shard": {"index": shard.index, "of": shard.of}}
    if suite_name in TUNED:
        held = dataset.validation if split == "test" else dataset.train
        attacker, notes["tuning"] = _tuned(attacker, model, held, recipe.threat, rng.derive(seed, "tuning"), unfinished)
    judged_by = making(attacker) if making else suite(suite_name, attacker=attacker)
    record = evaluate(
        model, x, y, suite=judged_by.model_copy(update={"cascade": judged_by.cascade and not full}), substitutes=others,
        threat=recipe.threat, seed=seed, name=recipe.name, labels=dataset.labels, required=recipe.defense.adaptive(),
        batch_size=batch_size, partial=unfinished, report=report,
        provenance=gather(
            seed=seed, recipe=shareable(recipe), weights=checksum,
            data=f"{dataset.describe()}; judged: {len(asked)} {split} images" + (shard.suffix if shard else ""),
        ),
    )  # fmt: skip
    seed = rng.derive(seed, "exhibits")
    with rng.scope(seed):
        layers = tuple(membranes(model, x[:256]))
    shown = _shown(model, x, y, recipe=recipe, labels=dataset.labels, seed=seed, draws=attacker.draws) if exhibits else ((), ())
    record = record.with_exhibits(membranes=layers, curves=shown[0], pictures=shown[1], epochs=tuple(run.epochs()))
    record = replace(record, notes=notes)
    record.save(out or run.folder / name)
    shutil.rmtree(unfinished, ignore_errors=True)
    return record


def _tuned(
    attacker: Attacker, model: nn.Module, held: Split, threat: Threat, seed: int, folder: Path
) -> tuple[Attacker, dict[str, Any]]:  # fmt: skip
    """`tune` on the first `HELD_OUT` images, and what to note of it; kept in `folder` for whoever goes on."""
    device = next(model.parameters()).device
    x, y = held.pixels(slice(0, HELD_OUT), device), held.labels[:HELD_OUT].to(device)
    path = folder / f"tuning-{digest(model, [x, y], [threat.to_json(), attacker.to_json(), seed])}.json"
    if path.exists():
        kept = read_json(path)
        return Attacker.parse(kept["attacker"]), kept["tuning"]
    found, tuning = tune(
        model, x, y, threat=threat, draws=attacker.draws, seed=seed, substitutes=attacker.substitutes
    )  # fmt: skip
    write_atomic(path, json.dumps({"attacker": found.to_json(), "tuning": tuning.to_json()}).encode())
    return found, tuning.to_json()


def file_name(suite_name: str, split: str, shard: Shard | None, *, full: bool = False) -> str:
    """`evaluation.json` for the papers' suite on the test split; others say what they are."""
    parts = ["evaluation"]
    parts += [suite_name] if suite_name != "paper" else []
    parts += ["full"] if full and suite_name in CASCADES else []
    parts += [split] if split != "test" else []
    parts += [f"shard-{shard.index}-of-{shard.of}"] if shard else []
    return "-".join(parts) + ".json"


def _shown(
    model: Model, x: Tensor, y: Tensor, *, recipe: Recipe, labels: Sequence[str], seed: int, draws: int
) -> tuple[tuple[Curve, ...], tuple[Picture, ...]]:  # fmt: skip
    """Accuracy over radii, and images with what three attacks make of them."""
    gradient, early = InputGradient(draws=draws), draws == 1
    attack = PGD(steps=20, early_stop=early, gradient=gradient)
    radii = [share * recipe.threat.eps for share in CURVE_SHARES]
    probe, threat = slice(0, 256), recipe.threat
    line = curve(model, x[probe], y[probe], attack=attack, threat=threat, radii=radii, seed=seed, name="PGD-20", draws=draws)
    few: dict[str, Attack] = {
        "FGSM": fgsm(gradient=gradient), "PGD-20": attack, "APGD-50": APGD(steps=50, early_stop=early, gradient=gradient),
    }  # fmt: skip
    return (line,), pictures(model, x, y, attacks=few, threat=threat, labels=labels, seed=seed, draws=draws)


def shareable(recipe: Recipe) -> dict[str, Any]:
    """The recipe as JSON, its data path cut to the last folder: a record is passed on, and the images are identified by
    their fingerprint, not by where they lay."""
    data: dict[str, Any] = recipe.to_json()
    path = data["data"]["path"]
    if path and Path(path).exists():
        data["data"]["path"] = Path(path).resolve().name
    return data
