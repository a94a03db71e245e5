"""Tiny made-up data instead of what the recipes name."""

from collections.abc import Callable

import pytest

from snnguard import recipes
from snnguard.data import Data
from snnguard.recipes import Recipe

TINY = Data(name="fake", train_size=16, validation_size=8, test_size=8)


@pytest.fixture
def tiny() -> Callable[..., Recipe]:
    """tiny(name, "network.steps=2", ...) -> a built-in recipe on 16 made-up images, two steps of 8."""

    def make(name: str = "digits-undefended", *overrides: str) -> Recipe:
        recipe = recipes.get(name)
        training = recipe.training.model_copy(update={"batch_size": 8, "max_steps": 2, "device": "cpu"})
        data = recipe.model_copy(update={"data": TINY, "training": training}).to_json()
        return Recipe.parse(recipes.overridden(data, overrides))

    return make
