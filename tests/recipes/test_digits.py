"""The recipes on digits: each trains."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from snnguard import recipes
from snnguard.data import load
from snnguard.recipes import Recipe

NAMES = [name for name in recipes.names() if name.startswith("digits-")]


def test_the_issues_networks_are_there() -> None:
    assert {f"digits-{n}" for n in ("undefended", "mpd-sgr", "tgo", "at-mpd-sgr", "at", "reg", "rat")} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_two_steps(name: str, tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    run = recipes.train(tiny(name, "network.steps=2"), out=tmp_path / "run")
    outcome = run.outcome
    assert outcome.finished
    assert outcome.steps == 2
    assert all(math.isfinite(line["loss"]) for line in outcome.lines)
    model, checksum = run.model(load(run.recipe.data))
    assert not model.training
    assert len(checksum) == 64


def test_the_data_is_built_in() -> None:
    assert {recipes.get(name).data.name for name in NAMES} == {"digits"}
