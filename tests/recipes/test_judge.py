"""A run, judged: what the record holds and where it goes."""

import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnguard import recipes
from snnguard.data import load
from snnguard.errors import CheckpointError, UnknownName
from snnguard.evaluation import Attacker, Progress, Shard, Suite, merged, paired, suites, tune, tuning
from snnguard.evaluation.suite import rule_name
from snnguard.recipes import Recipe, start
from snnguard.recipes.judge import file_name
from snnguard.record import Record

judging = importlib.import_module("snnguard.recipes.judge")  # the name in the room is the function's


@pytest.fixture
def run(learned: recipes.Run) -> recipes.Run:
    return learned


def test_a_record_with_exhibits(run: recipes.Run) -> None:
    record = recipes.judge(run, suite_name="quick", batch_size=4)
    assert Record.load(run.folder / "evaluation-quick.json") == record
    assert not list((run.folder / "unfinished").iterdir())
    assert len(record.clean) == 8
    assert record.labels == load(run.recipe.data).labels
    assert {m.layer for m in record.membranes}
    assert len(record.curves[0].eps) == 8
    assert record.curves[0].eps[0] == 0.0
    points = [interval.point for interval in record.curves[0].accuracy]
    assert points == sorted(points, reverse=True)
    assert list(record.epochs) == run.epochs()
    assert {p.attack for p in record.pictures} == {"FGSM", "PGD-20", "APGD-50"}
    assert len(record.pictures) == 3 * 8
    assert record.provenance.weights == run.model(load(run.recipe.data))[1]
    assert Recipe.parse(record.provenance.recipe) == run.recipe
    assert "judged: 8 test images" in record.provenance.data


def test_the_validation_split_has_its_own_file(run: recipes.Run) -> None:
    recipes.judge(run, suite_name="quick", images=3, split="validation")
    assert [path.name for path in run.folder.glob("evaluation*.json")] == ["evaluation-quick-validation.json"]
    assert len(Record.load(run.folder / "evaluation-quick-validation.json").clean) == 3


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


def test_more_images_than_there_are_is_all_of_them(run: recipes.Run, tmp_path: Path) -> None:
    record = recipes.judge(run, suite_name="quick", images=100, exhibits=False)
    assert len(record.clean) == 8
    assert record.provenance.data.endswith("; judged: 8 test images")


@pytest.mark.parametrize(
    ("suite_name", "split", "shard", "name"),
    [
        ("paper", "test", None, "evaluation.json"),
        ("quick", "test", None, "evaluation-quick.json"),
        ("paper", "validation", None, "evaluation-validation.json"),
        ("spike", "test", None, "evaluation-spike.json"),
        ("paper", "test", Shard(index=0, of=2), "evaluation-shard-0-of-2.json"),
        ("checks", "validation", Shard(index=3, of=4), "evaluation-checks-validation-shard-3-of-4.json"),
    ],
)
def test_a_file_name_says_what_is_in_it(suite_name: str, split: str, shard: Shard | None, name: str) -> None:
    assert file_name(suite_name, split, shard) == name
    assert ("full" in file_name(suite_name, split, shard, full=True)) == (suite_name == "spike")  # the others are full anyway


# --- tuning, substitutes and shards ---------------------------------------------------------------------------------


def few(attacker: Attacker, *, known: Callable[[Attacker], Suite]) -> Suite:
    """Of a suite one attack under the best rule, the transfers and Square."""
    chosen = known(attacker)
    best = f"sa-pgd/{rule_name(attacker.best)}"
    kept = [e for e in chosen.entries if e.name.startswith(("transfer", "square", best))]
    return chosen.model_copy(update={"entries": tuple(kept)})


@pytest.fixture
def shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    """`spike` and its tuning, too long for a test, in two steps."""
    monkeypatch.setitem(suites.SUITES, "spike", functools.partial(suites.spike, steps=2, queries=3))
    monkeypatch.setattr(tuning, "STEPS", 2)


@pytest.fixture
def fewer(monkeypatch: pytest.MonkeyPatch, shortened: None) -> None:
    monkeypatch.setitem(suites.SUITES, "spike", functools.partial(few, known=suites.SUITES["spike"]))
    monkeypatch.setattr(tuning, "SHARES", (0.4,))


def test_the_whole_of_spike(run: recipes.Run, shortened: None) -> None:
    record = recipes.judge(run, suite_name="spike", images=2, exhibits=False)
    assert Record.load(run.folder / "evaluation-spike.json") == record
    assert (record.suite, record.cascade, len(record.attacks)) == ("spike", True, 26)
    attacked = [a.attacked for a in record.attacks]
    assert attacked[0] == record.clean.hits
    assert attacked == sorted(attacked, reverse=True)  # each on what those before left
    assert record.worst_flags == record.attacks[-1].correct
    assert record.find("square").backwards == 0
    assert (record.curves, record.pictures) == ((), ())
    assert len(record.membranes) == 3
    leads = record.notes["tuning"]["leads"]
    assert len(leads) == 14
    assert f"fab-t/{max(leads, key=leads.__getitem__)}" in [a.name for a in record.attacks]


def test_in_full_every_attack_sees_every_image_and_the_worst_case_is_the_same(run: recipes.Run, shortened: None) -> None:
    cascade = recipes.judge(run, suite_name="spike", images=8, exhibits=False)
    full = recipes.judge(run, suite_name="spike", images=8, exhibits=False, full=True)
    assert Record.load(run.folder / "evaluation-spike-full.json") == full
    assert not full.cascade
    assert {a.attacked for a in full.attacks} == {full.clean.hits}
    assert full.worst_flags == cascade.worst_flags


@pytest.mark.parametrize("split", ["test", "validation"])
def test_what_is_tuned_on_is_never_judged(split: str, run: recipes.Run, fewer: None, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Tensor, Tensor, dict[str, Any]]] = []

    def spy(model: nn.Module, x: Tensor, y: Tensor, **given: Any) -> Any:
        seen.append((x, y, given))
        return tune(model, x, y, **given)

    monkeypatch.setattr(judging, "tune", spy)
    monkeypatch.setattr(judging, "HELD_OUT", 3)
    record = recipes.judge(run, suite_name="spike", images=4, split=split, exhibits=False, seed=2)
    [(x, y, given)] = seen
    dataset = load(run.recipe.data)
    held = dataset.validation if split == "test" else dataset.train
    judged = dataset.test if split == "test" else dataset.validation
    assert torch.equal(x, held.pixels(slice(0, 3)))
    assert torch.equal(y, held.labels[:3])
    for image in x:
        assert not (judged.pixels(torch.arange(4)) == image).flatten(1).all(1).any()
    assert given["threat"] == run.recipe.threat
    noted = record.notes["tuning"]
    assert noted["images"] == 3
    assert noted["backwards"] == 10 * 3 * 3  # candidates, images, looks
    assert record.notes.keys() == {"tuning"}


def test_who_goes_on_does_not_tune_again(run: recipes.Run, fewer: None, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = recipes.judge(run, suite_name="spike", images=4, exhibits=False)

    def stop(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recipes.judge(run, suite_name="spike", images=4, exhibits=False, report=stop)
    with monkeypatch.context() as patch:
        patch.delattr(judging, "tune")
        again = recipes.judge(run, suite_name="spike", images=4, exhibits=False)
    assert again.notes["tuning"]["leads"] == whole.notes["tuning"]["leads"]
    assert [(a.name, a.correct) for a in again.attacks] == [(a.name, a.correct) for a in whole.attacks]
    assert not list((run.folder / "unfinished").iterdir())


def test_who_does_not_ask_is_not_tuned_for(run: recipes.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(suites.SUITES, "checks", suites.SUITES["quick"])
    monkeypatch.delattr(judging, "tune")
    assert recipes.judge(run, suite_name="checks", images=1, exhibits=False).notes == {}


def test_substitutes_take_part(run: recipes.Run, fewer: None) -> None:
    for kind in ("twin", "ann"):
        recipe, folder = recipes.substitute(run, kind)
        training = recipe.training.model_copy(update={"epochs": 1, "max_steps": 1})
        recipes.train(recipe.model_copy(update={"training": training}), out=folder)
    record = recipes.judge(run, suite_name="spike", images=2, exhibits=False)
    transfers = [a for a in record.attacks if a.name.startswith("transfer")]
    assert [a.name for a in transfers] == ["transfer-ann", "transfer-twin"]
    for result in transfers:
        assert result.rule == ""
        assert result.backwards == 20 * (result.attacked or 0)
    assert not any(a.name.startswith("transfer") for a in recipes.judge(run, suite_name="quick", images=1).attacks)


def test_shards_merged_are_the_whole(run: recipes.Run, fewer: None) -> None:
    """Image by image, so that no sum is rounded otherwise."""
    asked: dict[str, Any] = {"suite_name": "spike", "images": 3, "batch_size": 1, "exhibits": False}
    whole = recipes.judge(run, **asked)
    parts = [recipes.judge(run, shard=Shard(index=i, of=2), **asked) for i in range(2)]
    assert [len(part.clean) for part in parts] == [2, 1]
    assert parts[1].notes["shard"] == {"index": 1, "of": 2}
    assert parts[1].provenance.data.endswith("judged: 3 test images, shard 1/2")
    files = [run.folder / f"evaluation-spike-shard-{i}-of-2.json" for i in range(2)]
    record = merged([Record.load(file) for file in files])
    assert (record.clean, record.cascade, record.suite) == (whole.clean, whole.cascade, whole.suite)
    for ours, theirs in zip(record.attacks, whole.attacks, strict=True):
        assert (ours.name, ours.correct, ours.attacked) == (theirs.name, theirs.correct, theirs.attacked)
        assert (ours.forwards, ours.backwards, ours.seed) == (theirs.forwards, theirs.backwards, theirs.seed)
        assert ours.zero_gradient_share == pytest.approx(theirs.zero_gradient_share)
    assert record.provenance.data == whole.provenance.data
    assert record.notes["tuning"]["leads"] == whole.notes["tuning"]["leads"]
    assert paired(record, whole).p == 1
