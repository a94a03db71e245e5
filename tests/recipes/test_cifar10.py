"""The recipes on CIFAR-10: the small ones train (on made-up images), the papers' parse and build."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from snnguard import recipes
from snnguard.data import Augmentation, default_augmentation, fake
from snnguard.defenses import TGO, Stack
from snnguard.neurons import MembraneNoise
from snnguard.recipes import Recipe, build
from snnguard.training import SGD

SLIM = [name for name in recipes.names() if name.startswith("cifar10-slim-")]


@pytest.mark.parametrize("name", SLIM)
def test_two_steps(name: str, tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    outcome = recipes.train(tiny(name, "network.steps=2"), out=tmp_path / "run").outcome
    assert outcome.finished
    assert outcome.steps == 2
    assert all(math.isfinite(line["loss"]) for line in outcome.lines)


@pytest.mark.parametrize("network", ["vgg11", "wrn16"])
def test_the_papers_settings(network: str) -> None:
    recipe = recipes.get(f"cifar10-{network}-mpd-sgr")
    assert recipe.network.name == network
    assert recipe.network.steps == 8
    assert recipe.training.epochs == 300
    assert recipe.training.optimiser == SGD(learning_rate=0.1, momentum=0.9, weight_decay=5e-4)
    assert recipe.defense.eta == 0.05
    assert recipe.threat.eps == 8 / 255
    assert default_augmentation(recipe.data) == Augmentation(crop=4, flip=True)


@pytest.mark.parametrize(
    ("name", "epochs", "batch_size", "steps"),
    [
        ("reg", 200, 64, 8), ("at-stog", 200, 64, 8), ("sr", 200, 32, 8), ("dlif", 100, 64, 8), ("at-feel", 300, 256, 8),
        ("tgo", 300, 128, 4), ("at-tgo", 300, 128, 4), ("trades", 300, 128, 8), ("tgo-distill", 300, 128, 4),
    ],
)  # fmt: skip
def test_each_defense_trains_as_its_paper_does(name: str, epochs: int, batch_size: int, steps: int) -> None:
    recipe = recipes.get(f"cifar10-vgg11-{name}")
    assert (recipe.training.epochs, recipe.training.batch_size, recipe.network.steps) == (epochs, batch_size, steps)


def test_tgo_wins_back_clean_accuracy_from_an_undefended_teacher() -> None:
    recipe = recipes.get("cifar10-wrn16-tgo-distill")
    tgo, distill = recipe.defense.parts
    assert tgo == TGO(lambda_max=0.4)
    assert distill.teachers() == {"distill": Stack()}


def test_a_defense_designs_the_network() -> None:
    recipe = recipes.get("cifar10-wrn16-tgo")
    assert isinstance(recipe.defense, TGO)
    assert isinstance(recipe.defense.design(recipe.network).neuron.traits[0], MembraneNoise)
    assert recipes.get("cifar10-wrn16-rat").defense.design(recipe.network).residual == "convex"


def test_vgg11_builds() -> None:
    model = build(recipes.get("cifar10-vgg11-mpd-sgr"), fake(train=4, validation=1, test=1))
    assert sum(p.numel() for p in model.parameters()) == 61_377_034
