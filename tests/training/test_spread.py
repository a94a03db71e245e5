"""One training over two processes: the numbers of one, up to rounding."""

import json
from pathlib import Path

import pytest
import torch

from snnguard import recipes
from snnguard.errors import RequestError

SMALL = ["data.validation_size=32", "data.test_size=32", "training.device=cpu", "data.train_size=64"]
NAMES = ["digits-mpd-sgr", "digits-tgo-mc"]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    tensors, _ = recipes.run.read_tensors(folder / "model.safetensors")
    return tensors


@pytest.mark.parametrize("name", NAMES)
def test_a_step_of_two_devices_is_that_of_one(name: str, tmp_path: Path) -> None:
    """The statistics of normalisation and of the penalty are those of the whole batch."""
    step = [*SMALL, "training.epochs=1", "training.optimiser.kind=sgd", "training.optimiser.learning_rate=0.1"]
    one = recipes.train(recipes.read(name, step), out=tmp_path / "one")
    two = recipes.train(recipes.read(name, [*step, "training.devices=2"]), out=tmp_path / "two")
    [before], [after] = one.epochs(), two.epochs()
    for key in ("loss", "train_accuracy", *(key for key in before if key.startswith("penalty."))):
        assert after[key] == pytest.approx(before[key], rel=1e-5), key
    alone, together = weights(tmp_path / "one"), weights(tmp_path / "two")
    for key, tensor in alone.items():
        torch.testing.assert_close(together[key], tensor, rtol=1e-4, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}")


def test_a_training_over_two_devices_reports_and_resumes(tmp_path: Path) -> None:
    said: list[tuple[int, int]] = []
    recipe = recipes.read("digits-mpd-sgr", [*SMALL, "training.epochs=4", "training.devices=2"])
    short = recipe.model_copy(update={"training": recipe.training.model_copy(update={"max_steps": 2})})
    recipes.train(short, out=tmp_path / "run", report=lambda step, steps, line: said.append((step, steps)))
    assert said == [(1, 2), (2, 2)]
    (tmp_path / "run/recipe.json").write_text(json.dumps(recipe.to_json()))
    resumed, whole = (recipes.train(recipe, out=tmp_path / name) for name in ("run", "other"))
    losses = [[line["loss"] for line in run.epochs()] for run in (resumed, whole)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 4


def test_batches_must_be_divisible(tmp_path: Path) -> None:
    recipe = recipes.read("digits-undefended", [*SMALL, "training.devices=2", "training.batch_size=33"])
    with pytest.raises(RequestError, match="2 devices cannot share batches of 33 images equally"):
        recipes.train(recipe, out=tmp_path / "run")
