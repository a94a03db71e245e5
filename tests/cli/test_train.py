"""snnguard train (killing and stopping it is tests/training/test_fit.py's business)."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from snnguard import recipes
from snnguard.recipes import Recipe, open_run

SMALL = ("data.name=fake", "data.train_size=16", "data.validation_size=8", "data.test_size=8", "network.steps=1")
SHORT = ("training.epochs=1", "training.batch_size=8", "training.device=cpu")


def test_it_trains_and_says_what_next(snnguard: Any, tmp_path: Path) -> None:
    said = snnguard("train", "digits-mpd-sgr", *SMALL, *SHORT, "--out", tmp_path / "x")
    assert said.code == 0
    assert "validation accuracy" in said.out
    assert "snnguard evaluate" in said.out
    assert open_run(tmp_path / "x").trained
    assert open_run(tmp_path / "x").recipe == recipes.read("digits-mpd-sgr", [*SMALL, *SHORT])


def test_the_default_folder_is_the_recipes_name(snnguard: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert snnguard("train", "digits-undefended", *SMALL, *SHORT, "name=mine").code == 0
    assert open_run(Path("runs/mine")).trained


def test_a_toml_file(snnguard: Any, tmp_path: Path) -> None:
    recipe: Recipe = recipes.read("digits-reg", [*SMALL, *SHORT])
    (tmp_path / "my.toml").write_text(recipe.to_toml())
    assert snnguard("train", tmp_path / "my.toml", "--out", tmp_path / "x", "seed=3").code == 0
    assert open_run(tmp_path / "x").recipe == recipe.model_copy(update={"seed": 3})


def test_a_folder_of_another_recipe(snnguard: Any, run: Path) -> None:
    said = snnguard("train", "digits-mpd-sgr", *SMALL, *SHORT, "--out", run)
    assert said.code == 2
    assert "belongs to another recipe" in said.err
    assert "training.epochs" in said.err


def test_max_steps_is_no_interruption(snnguard: Any, tmp_path: Path) -> None:
    said = snnguard("train", "digits-mpd-sgr", *SMALL, *SHORT, "training.max_steps=1", "--out", tmp_path / "x")
    assert said.code == 0


def test_ctrl_c_exits_with_130_and_the_same_command_goes_on(
    snnguard: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from snnguard.training.fit import Loop

    real = Loop.step

    def step(self: Loop) -> Any:
        if self.progress.step == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self)

    command = ("train", "digits-mpd-sgr", *SMALL, *SHORT, "--out", tmp_path / "x")
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "step", step)
        said = snnguard(*command)
    assert said.code == 130
    assert "Stopped after step 1" in said.out
    assert not open_run(tmp_path / "x").trained
    assert snnguard(*command).code == 0
    assert open_run(tmp_path / "x").trained


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there(device: str, snnguard: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    said = snnguard("train", "digits-at", *SMALL, "training.epochs=1", f"training.device={device}", "--out", tmp_path / "x")
    assert said.code == 2
    assert f"no {device} device" in said.err
