"""Tiny made-up data instead of what the recipes name."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from snnguard import recipes
from snnguard.data import Data
from snnguard.recipes import Recipe

TINY = Data(name="fake", train_size=16, validation_size=8, test_size=8)


def a_tiny(name: str = "digits-undefended", *overrides: str) -> Recipe:
    recipe = recipes.get(name)
    training = recipe.training.model_copy(update={"batch_size": 8, "max_steps": 2, "device": "cpu"})
    data = recipe.model_copy(update={"data": TINY, "training": training}).to_json()
    return Recipe.parse(recipes.overridden(data, overrides))


@pytest.fixture
def tiny() -> Callable[..., Recipe]:
    """tiny(name, "network.steps=2", ...) -> a built-in recipe on 16 made-up images, two steps of 8."""
    return a_tiny


@pytest.fixture(scope="session")
def _learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = a_tiny("digits-mpd-sgr", "training.max_steps=null", "training.epochs=8", "network.steps=2")
    return recipes.train(recipe, out=tmp_path_factory.mktemp("recipes") / "run").folder


@pytest.fixture
def learned(_learned: Path, tmp_path: Path) -> recipes.Run:
    """A copy of a run that has learnt its images."""
    return recipes.open_run(Path(shutil.copytree(_learned, tmp_path / "run")))
