"""One network: done once, by one process at a time, and taken over where it has been trained already."""

import json
from pathlib import Path

import pytest
from filelock import FileLock

from snnguard import recipes, reproduce
from snnguard.record import Record
from snnguard.reproduce import SCALES, Job, Request, grid, job

SMALL = ("training.epochs=1", "data.train_size=96", "data.validation_size=32", "data.test_size=32")


@pytest.fixture
def asked() -> Job:
    only = {"method": ("none",), "training": ("vanilla",)}
    request = Request(scale=SCALES["tiny"], only=only, seeds=(0,), images=16, spike=False, settings=SMALL)
    [one] = reproduce.jobs([reproduce.choose(reproduce.get("tgo/table-ablation"), request)])
    return one


def test_a_job_leaves_a_run_and_its_records_and_is_done(asked: Job, tmp_path: Path) -> None:
    assert not asked.done(tmp_path)
    job.run(asked, tmp_path)
    assert asked.done(tmp_path)
    [judgement] = asked.judgements
    path = judgement.path(tmp_path, asked.name)
    record = Record.load(path)
    assert [result.name for result in record.attacks] == ["fgsm/bptt"]
    assert len(record.clean) == 16
    assert record.provenance.recipe["training"]["epochs"] == 1
    assert record.suite == "tgo/table-ablation"
    before = path.stat().st_mtime_ns
    job.run(asked, tmp_path)
    assert path.stat().st_mtime_ns == before


def test_one_process_at_a_time_has_a_network(asked: Job, tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    with FileLock(tmp_path / "locks" / f"{asked.name}.lock"):
        with pytest.raises(job.Busy, match="another process has digits-vgg4-tiny"):
            job.run(asked, tmp_path, wait=False)
        assert not (tmp_path / "networks").exists()


def test_a_trained_run_is_taken_over(asked: Job, tmp_path: Path) -> None:
    same = asked.recipe.model_copy(update={"name": "mine"})
    other = same.model_copy(update={"seed": 7})
    for name, recipe in (("same", same), ("other", other)):
        recipes.train(recipe, out=tmp_path / name)
    out = tmp_path / "out"
    assert reproduce.adopt([asked], [tmp_path / "other"], out) == []
    assert reproduce.adopt([asked], [tmp_path / "other", tmp_path / "same"], out) == [asked.name]
    assert (out / "networks" / asked.name / "model.safetensors").read_bytes() == (
        tmp_path / "same/model.safetensors"
    ).read_bytes()
    weights = (out / "networks" / asked.name / "model.safetensors").stat().st_mtime_ns
    job.run(asked, out)
    assert (out / "networks" / asked.name / "model.safetensors").stat().st_mtime_ns == weights  # judged, not trained
    assert reproduce.adopt([asked], [tmp_path / "same"], out) == []


def test_what_is_asked_of_a_network_is_part_of_where_its_record_lies(asked: Job, tmp_path: Path) -> None:
    [one] = asked.judgements
    others = [
        reproduce.Judgement(**{**vars(one), **change})
        for change in ({"images": 17}, {"draws": 3}, {"columns": (("pgd7", "bptt"),)}, {"columns": ()}, {"transfer": ("twin",)})
    ]
    assert len({judgement.path(tmp_path, "n") for judgement in [one, *others]}) == 6


def test_failures_are_named_and_the_others_come_to_their_end(asked: Job, tmp_path: Path) -> None:
    broken = asked.recipe.model_copy(
        update={"data": asked.recipe.data.model_copy(update={"name": "cifar10", "path": "nowhere"})}
    )
    bad = Job(recipe=job.named(broken), judgements=asked.judgements)
    failed = grid.train_and_judge([bad, asked], tmp_path)
    assert list(failed) == [bad.name]
    assert "nowhere" in failed[bad.name]
    assert asked.done(tmp_path)


def test_an_outcome_says_what_is_there_and_what_is_not(asked: Job, tmp_path: Path) -> None:
    only = {"method": ("none", "mc"), "training": ("vanilla",)}
    request = Request(scale=SCALES["tiny"], only=only, seeds=(0,), images=16, spike=False, settings=SMALL)
    chosen = reproduce.choose(reproduce.get("tgo/table-ablation"), request)
    job.run(asked, tmp_path)
    made = reproduce.outcome(chosen, tmp_path)
    by_place = {(cell.row, cell.column): cell for cell in made.comparison.cells}
    [judgement] = asked.judgements
    record = Record.load(judgement.path(tmp_path, asked.name))
    found = by_place["none", "fgsm"]
    assert (found.ours, found.published, found.seeds) == (100 * record.find("fgsm/bptt").accuracy.point, 5.9, 1)
    assert (by_place["mc", "fgsm"].ours, by_place["mc", "fgsm"].published) == (None, 17.1)
    [claim] = made.comparison.claims
    assert claim.verdict == "cannot be told"
    reproduce.write(made, tmp_path / "x")
    assert json.loads((tmp_path / "x/comparison.json").read_text()) == made.comparison.to_json()
    text = (tmp_path / "x/table.md").read_text()
    assert "| mc | – (64.3) | – (17.1) |" in text
    assert "training.epochs=1" in text
