"""The run folder: whose it is, what is in it, what it refuses."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from snnguard import recipes
from snnguard.data import load
from snnguard.errors import CheckpointError, DataError, RequestError, RunFolderError
from snnguard.recipes import Recipe, open_run, start
from snnguard.recipes.run import claimed, differences
from snnguard.training import read_tensors, write_tensors


@pytest.fixture
def run(tiny: Callable[..., Recipe], tmp_path: Path) -> recipes.Run:
    return recipes.train(tiny(), out=tmp_path / "run")


def test_what_a_run_leaves(run: recipes.Run) -> None:
    assert {p.name for p in run.folder.iterdir()} == {
        "recipe.json", "metrics.jsonl", "state.safetensors", "model.safetensors", "model.json", ".lock",
    }  # fmt: skip
    assert run.trained
    tensors, card = read_tensors(run.folder / "model.safetensors")
    model, checksum = run.model(load(run.recipe.data))
    assert all(torch.equal(v, tensors[k]) for k, v in model.state_dict().items())
    assert card == json.loads((run.folder / "model.json").read_text())
    assert card["sha256"] == checksum
    assert Recipe.parse(card["recipe"]) == run.recipe == open_run(run.folder).recipe
    assert {"data", "labels", "mean", "std", "image_shape", "versions", "epochs"} <= card.keys()
    assert "16 train" in card["data"]
    assert len(run.epochs()) == 1


def test_a_half_written_line_of_metrics_is_left_out(run: recipes.Run) -> None:
    path = run.folder / "metrics.jsonl"
    path.write_text(path.read_text() + '{"epoch": 2, "lo')
    assert [line["epoch"] for line in run.epochs()] == [1]


def test_the_same_recipe_goes_on_in_its_folder(run: recipes.Run) -> None:
    before, card = read_tensors(run.folder / "model.safetensors")
    outcome = recipes.train(run.recipe, out=str(run.folder)).outcome
    assert outcome.finished
    after, other = read_tensors(run.folder / "model.safetensors")
    assert card == other
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("override", "field"),
    [
        ("seed=1", "seed"),
        ("training.epochs=3", "training.epochs"),
        ("defense=reg", "defense.kind"),
        ("network.neuron.surrogate.gamma=2", "network.neuron.surrogate.gamma"),
        ("augmentation.flip=true", "augmentation"),
    ],
)
def test_a_folder_of_another_recipe_names_what_differs(
    override: str, field: str, run: recipes.Run, tiny: Callable[..., Recipe]
) -> None:
    before = {p.name: p.read_bytes() for p in run.folder.iterdir()}
    with pytest.raises(RunFolderError, match=rf"belongs to another recipe .*{field}.*choose another folder"):
        recipes.train(tiny("digits-undefended", override), out=run.folder)
    assert before == {p.name: p.read_bytes() for p in run.folder.iterdir()}


def test_differences_are_dotted_paths() -> None:
    one, other = {"a": {"b": 1, "c": [1]}, "d": None}, {"a": {"b": 2, "c": [1, 2]}}
    assert differences(one, other) == ["a.b", "a.c"]
    assert differences(one, one) == []


def test_a_folder_with_other_things_in_it(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(RunFolderError, match="is not empty and holds no run; choose another folder"):
        start(tiny(), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_empty_folder_is_taken(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    assert start(tiny(), tmp_path).recipe == tiny()


def test_what_a_kill_in_the_first_write_left_does_not_block_the_folder(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    (tmp_path / ".recipe.json.x1y2z3w4").write_text('{"na')
    assert start(tiny(), tmp_path).recipe == tiny()


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(RunFolderError, match=r"is no run folder: it has no recipe\.json; make one with: snnguard train"):
            open_run(folder)


def test_a_damaged_recipe(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text('{"name": ')
    with pytest.raises(RequestError, match=r"recipe\.json is not readable as JSON"):
        open_run(tmp_path)
    (tmp_path / "recipe.json").write_text('{"name": "x", "trainig": {}}')
    with pytest.raises(RequestError, match="trainig"):
        open_run(tmp_path)


def test_a_run_that_is_not_trained_has_no_model(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    run = start(tiny(), tmp_path / "run")
    assert not run.trained
    assert run.epochs() == []
    with pytest.raises(CheckpointError, match="has no trained model yet; finish it with: snnguard train"):
        run.model(load(run.recipe.data))


def test_weights_of_another_network_are_refused(run: recipes.Run) -> None:
    path = run.folder / "model.safetensors"
    tensors, card = read_tensors(path)
    name = next(iter(tensors))
    write_tensors(path, {k: v for k, v in tensors.items() if k != name} | {"strange": torch.zeros(1)}, card)
    with pytest.raises(CheckpointError, match=rf"missing: {name}; not in this network: strange"):
        run.model(load(run.recipe.data))


def test_a_full_disk_at_the_start(tiny: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RequestError, match=r"cannot write .*recipe\.json: No space left"):
            recipes.train(tiny(), out=tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []
    assert recipes.train(tiny(), out=tmp_path / "run").outcome.finished


def test_data_that_is_not_there_leaves_no_folder(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe = tiny("digits-undefended", 'data={"name": "images", "path": "%s"}' % (tmp_path / "none.parquet"))
    with pytest.raises(DataError):
        recipes.train(recipe, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_in_which_another_process_trains_is_refused(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    start(tiny(), tmp_path)
    with claimed(tmp_path), pytest.raises(RunFolderError, match="another process is training in"):
        recipes.train(tiny(), out=tmp_path)
    assert recipes.train(tiny(), out=tmp_path).trained
