"""A run, judged: what the record holds and where it goes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from snnguard import recipes
from snnguard.data import load
from snnguard.errors import CheckpointError, UnknownName
from snnguard.recipes import Recipe, start
from snnguard.record import Record


@pytest.fixture
def run(tiny: Callable[..., Recipe], tmp_path: Path) -> recipes.Run:
    return recipes.train(
        tiny("digits-mpd-sgr", "training.max_steps=null", "training.epochs=8", "network.steps=2"), out=tmp_path / "run"
    )


def test_a_record_with_exhibits(run: recipes.Run) -> None:
    record = recipes.judge(run, suite_name="quick", batch_size=4)
    assert Record.load(run.folder / "evaluation.json") == record
    assert not list(run.folder.glob(".evaluation*"))
    assert len(record.clean) == 8
    assert record.labels == load(run.recipe.data).labels
    assert {m.layer for m in record.membranes}
    assert len(record.curves[0].eps) == 8
    assert record.curves[0].eps[0] == 0.0
    points = [interval.point for interval in record.curves[0].accuracy]
    assert points == sorted(points, reverse=True)
    assert list(record.epochs) == run.epochs()
    assert record.provenance.weights == run.model(load(run.recipe.data))[1]
    assert Recipe.parse(record.provenance.recipe) == run.recipe
    assert "judged: 8 test images" in record.provenance.data


def test_the_validation_split_has_its_own_file(run: recipes.Run) -> None:
    recipes.judge(run, suite_name="quick", images=3, split="validation")
    assert not (run.folder / "evaluation.json").exists()
    assert len(Record.load(run.folder / "evaluation-validation.json").clean) == 3


def test_twice_is_the_same(run: recipes.Run, tmp_path: Path) -> None:
    one = recipes.judge(run, suite_name="quick", out=tmp_path / "a.json")
    other = recipes.judge(run, suite_name="quick", out=tmp_path / "b.json")
    assert [a.correct for a in one.attacks] == [a.correct for a in other.attacks]
    assert one.curves == other.curves
    assert one.pictures == other.pictures


def test_an_untrained_run_and_an_unknown_suite(tiny: Callable[..., Recipe], run: recipes.Run, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no trained model yet"):
        recipes.judge(start(tiny(), tmp_path / "fresh"))
    with pytest.raises(UnknownName, match="unknown suite 'papr'; did you mean 'paper'"):
        recipes.judge(run, suite_name="papr")
