"""Substitutes: what an attacker trains for himself, and where it goes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from snnguard import recipes
from snnguard.data import load
from snnguard.defenses import Stack
from snnguard.errors import CheckpointError, InvalidRecipe
from snnguard.neurons import neurons_of
from snnguard.recipes import Recipe, start, substitute, substitutes

Tiny = Callable[..., Recipe]


@pytest.fixture
def run(tiny: Tiny, tmp_path: Path) -> recipes.Run:
    """Of a defended network; not trained, which a substitute does not need."""
    return start(tiny("digits-mpd-sgr", "network.steps=3", "network.neuron.decay=0.5", "seed=7"), tmp_path / "run")


def test_a_twin_is_the_same_network_without_its_defense_from_another_seed(run: recipes.Run) -> None:
    made, folder = substitute(run, "twin")
    assert folder == run.folder / "substitutes" / "twin"
    assert made.name == f"{run.recipe.name}-substitute-twin"
    assert run.recipe.defense != Stack()
    assert made.defense == Stack()
    assert made.seed != run.recipe.seed
    same = ("data", "augmentation", "network", "training", "threat")
    assert [getattr(made, field) for field in same] == [getattr(run.recipe, field) for field in same]
    assert Recipe.parse(json.loads(json.dumps(made.to_json()))) == made


def test_an_ann_has_the_same_layers_without_neurons_and_time(run: recipes.Run) -> None:
    made, folder = substitute(run, "ann")
    assert folder.name == "ann"
    assert made.network == run.recipe.network.model_copy(update={"spiking": False, "steps": 1})
    assert made.defense == Stack()


def test_another_architecture_keeps_the_rest_of_the_network(run: recipes.Run) -> None:
    made, folder = substitute(run, "vgg5-slim")
    assert folder.name == "vgg5-slim"
    assert made.network.name == "vgg5-slim"
    assert (made.network.steps, made.network.neuron.decay, made.network.spiking) == (3, 0.5, True)


def test_every_kind_has_a_seed_of_its_own_and_always_the_same(run: recipes.Run) -> None:
    seeds = [substitute(run, kind)[0].seed for kind in ("twin", "ann", "vgg5-slim")]
    assert len({*seeds, run.recipe.seed}) == 4
    assert [substitute(run, kind)[0].seed for kind in ("twin", "ann", "vgg5-slim")] == seeds
    assert all(0 <= seed < 2**31 for seed in seeds)


@pytest.mark.parametrize(("kind", "said"), [("vgg5-slin", "did you mean 'vgg5-slim'"), ("../twin", "unknown network")])
def test_an_unknown_architecture_is_refused_with_the_nearest(run: recipes.Run, kind: str, said: str) -> None:
    with pytest.raises(InvalidRecipe, match=said):
        substitute(run, kind)
    assert not (run.folder / "substitutes").exists()


def test_what_is_trained_is_found_by_its_kind(run: recipes.Run) -> None:
    dataset = load(run.recipe.data)
    assert substitutes(run, dataset) == {}
    for kind in ("twin", "ann"):
        recipe, folder = substitute(run, kind)
        recipes.train(recipe, out=folder, dataset=dataset)
    start(*substitute(run, "vgg5-slim"))  # begun, not trained
    found = substitutes(run, dataset)
    assert list(found) == ["ann", "twin"]
    ann, twin = found.values()
    assert not neurons_of(ann)
    assert sum(isinstance(module, nn.ReLU) for module in ann.modules()) == len(neurons_of(twin)) == 3
    assert not any(module.training for model in found.values() for module in model.modules())
    # Two steps of training have moved the weights of both, from other beginnings.
    for kind, model in found.items():
        untrained = recipes.build(substitute(run, kind)[0], dataset)
        assert not torch.equal(next(model.parameters()), next(untrained.parameters()))
    assert not torch.equal(next(ann.parameters()), next(twin.parameters()))


def test_a_substitute_of_other_images_is_refused(run: recipes.Run, tiny: Tiny) -> None:
    recipe, folder = substitute(run, "twin")
    recipes.train(recipe, out=folder)
    with pytest.raises(CheckpointError, match="was trained on other images"):
        substitutes(run, load(tiny("digits-at", "data.train_size=24").data))


def test_an_ann_is_judged_like_any_network(run: recipes.Run) -> None:
    recipe, folder = substitute(run, "ann")
    record = recipes.judge(recipes.train(recipe, out=folder), suite_name="quick", images=2, exhibits=False)
    assert [a.name for a in record.attacks] == ["fgsm", "pgd-10", "apgd-ce-50", "apgd-dlr-50"]
    assert (record.membranes, record.clean.values) == ((), record.clean.values[:2])
