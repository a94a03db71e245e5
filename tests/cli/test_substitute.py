"""snnguard substitute."""

from pathlib import Path
from typing import Any

import torch

from snnguard import recipes
from snnguard.data import load
from snnguard.neurons import neurons_of
from snnguard.training import read_tensors

QUICKLY = ("--set", "training.epochs=1", "--set", "training.max_steps=1")


def weights(run: Path) -> dict[str, torch.Tensor]:
    return read_tensors(run / "substitutes" / "ann" / "model.safetensors")[0]


def test_a_twin_and_an_ann_are_trained_into_the_run(snnguard: Any, run: Path) -> None:
    said = snnguard("substitute", run, *QUICKLY)
    assert said.code == 0, said.err
    lines = " ".join(said.out.split())
    for kind in ("twin", "ann"):
        assert f"{kind}: validation accuracy" in lines
        assert recipes.open_run(run / "substitutes" / kind).recipe.training.max_steps == 1
    opened = recipes.open_run(run)
    found = recipes.substitutes(opened, load(opened.recipe.data))
    assert {kind: bool(neurons_of(model)) for kind, model in found.items()} == {"ann": False, "twin": True}
    before = weights(run)
    assert snnguard("substitute", run, "ann", *QUICKLY).code == 0  # it is there already
    assert all(torch.equal(value, before[name]) for name, value in weights(run).items())


def test_what_is_no_substitute(snnguard: Any, run: Path, tmp_path: Path) -> None:
    said = snnguard("substitute", run, "vgg4-tini", *QUICKLY)
    assert said.code == 2
    assert "did you mean 'vgg4-tiny'" in said.err
    said = snnguard("substitute", run, "twin", "--set", "training.epoch=1")
    assert said.code == 2
    assert "no such field" in said.err
    assert not (run / "substitutes").exists()
    said = snnguard("substitute", tmp_path / "nothing")
    assert said.code == 2
    assert "is no run folder" in said.err


def test_another_recipe_in_its_folder_is_refused(snnguard: Any, run: Path) -> None:
    assert snnguard("substitute", run, "ann", *QUICKLY).code == 0
    said = snnguard("substitute", run, "ann", "--set", "training.epochs=2", "--set", "training.max_steps=1")
    assert said.code == 2
    assert "training.epochs" in said.err
