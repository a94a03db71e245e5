"""Substitutes: networks that an attacker trains for himself, on the same images, to craft what he transfers."""

from collections.abc import Collection
from pathlib import Path

from snnguard import rng
from snnguard.data import Dataset
from snnguard.defenses import Stack
from snnguard.networks import SpikingClassifier

from .recipe import Recipe
from .run import Run, open_run


def substitute(run: Run, kind: str) -> tuple[Recipe, Path]:
    """The recipe of a substitute of the trained network, and the folder it belongs into.

    "twin" is the same network without its defense, from another seed, as in the papers' black-box evaluation; "ann" has
    rectified linear units in place of the neurons; anything else is the name of an architecture.
    """
    recipe = run.recipe
    network = recipe.network
    if kind == "ann":
        network = network.model_copy(update={"spiking": False, "steps": 1})
    elif kind != "twin":
        network = type(network).parse({**network.to_json(), "name": kind})
    made = recipe.model_copy(
        update={
            "name": f"{recipe.name}-substitute-{kind}", "network": network, "defense": Stack(),
            "seed": rng.derive(recipe.seed, "substitute", kind) % 2**31,
        }
    )  # fmt: skip
    return made, run.folder / "substitutes" / kind


def substitutes(run: Run, dataset: Dataset, *, only: Collection[str] | None = None) -> dict[str, SpikingClassifier]:
    """The substitutes of a run that are trained, by kind, or `only` some; `dataset` is what they were trained on."""
    there = sorted((run.folder / "substitutes").glob("*/model.safetensors"))
    found = [path for path in there if only is None or path.parent.name in only]
    return {path.parent.name: open_run(path.parent).model(dataset)[0] for path in found}
