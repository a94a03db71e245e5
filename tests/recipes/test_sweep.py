"""Sweeps: which cells a request names, and that a sweep leaves the same records as its parts and goes on where it stopped."""

import json
from pathlib import Path

import pytest

from snnguard import recipes
from snnguard.errors import InvalidRecipe, UnknownName
from snnguard.recipes import sweep
from snnguard.record import Record

SMALL = ["training.epochs=1", "data.train_size=96", "data.validation_size=32", "data.test_size=32"]
QUICK = sweep.Judging(suite="quick", images=16)


def test_patterns_and_products() -> None:
    cells = sweep.cells(["digits-undefended", "digits-a?"], ["network.steps=2,4", "network.neuron.decay=0.5,1.0", "seed=3"])
    settings = ["steps=2 decay=0.5", "steps=2 decay=1.0", "steps=4 decay=0.5", "steps=4 decay=1.0"]
    wanted = [f"{name} {setting}" for name in ("digits-undefended", "digits-at") for setting in settings]
    assert [cell.recipe.name for cell in cells] == wanted
    assert len(cells) == 8
    assert {cell.recipe.seed for cell in cells} == {3}
    assert {(c.recipe.network.steps, c.recipe.network.neuron.decay) for c in cells} == {(2, 0.5), (2, 1.0), (4, 0.5), (4, 1.0)}
    assert cells[0].values == (("network.steps", "2"), ("network.neuron.decay", "0.5"))


def test_a_recipe_that_is_named_twice_runs_once() -> None:
    assert len(sweep.cells(["digits-tgo", "digits-tg?", "digits-tgo"])) == 1


def test_commas_inside_brackets_and_quotes_belong_to_the_value() -> None:
    [cell] = sweep.cells(["digits-undefended"], ['defense={"kind": "mpd-sgr", "eta": 0.3}'])
    assert cell.recipe.defense.to_json()["eta"] == 0.3
    two = sweep.cells(["digits-undefended"], ['defense={"kind": "mpd-sgr", "eta": 0.3},"reg"'])
    assert [cell.recipe.defense.kind for cell in two] == ["mpd-sgr", "reg"]


def test_what_does_not_exist_is_said() -> None:
    with pytest.raises(UnknownName, match="no built-in recipe matches 'digitz-"):
        sweep.cells(["digitz-*"])
    with pytest.raises(UnknownName, match="did you mean 'digits-undefended'"):
        sweep.cells(["digits-undefnded"])
    with pytest.raises(InvalidRecipe, match="no such field"):
        sweep.cells(["digits-undefended"], ["network.neuron.dekay=1,2"])


def test_a_sweep_leaves_the_records_of_its_parts_and_goes_on(tmp_path: Path) -> None:
    cells = sweep.cells(["digits-undefended"], [*SMALL, "network.steps=1,2"])
    said: list[tuple[str, str]] = []
    records, failed = sweep.run(cells, out=tmp_path, judging=QUICK, report=lambda name, what, *_: said.append((name, what)))
    assert not failed
    assert [record.name for record in records] == [cell.recipe.name for cell in cells]
    assert sorted(said) == [(cell.recipe.name, "done") for cell in cells]

    run = recipes.train(cells[0].recipe, out=tmp_path / "alone")
    alone = recipes.judge(run, suite_name="quick", images=16)
    assert alone.clean == records[0].clean
    assert [a.correct for a in alone.attacks] == [a.correct for a in records[0].attacks]
    assert [m.layer for m in records[0].membranes] == [m.layer for m in alone.membranes]
    assert not records[0].curves

    path = sweep.record_of(cells[0].recipe, tmp_path)
    written = path.stat().st_mtime_ns
    path_of_other = sweep.record_of(cells[1].recipe, tmp_path)
    path_of_other.unlink()
    again, _ = sweep.run(cells, out=tmp_path, judging=QUICK)
    assert path.stat().st_mtime_ns == written  # what is done is only read
    assert again[1].clean == records[1].clean
    assert not sweep._judged(path, cells[0].recipe, sweep.Judging(suite="paper", images=16))
    assert not sweep._judged(path, cells[0].recipe, sweep.Judging(suite="quick", images=8))
    assert not sweep._judged(path, cells[0].recipe, sweep.Judging(suite="quick", images=16, split="validation"))
    assert not sweep._judged(path, cells[1].recipe, QUICK)


def test_a_cell_that_fails_does_not_keep_the_others_from_their_end(tmp_path: Path) -> None:
    cells = sweep.cells(["digits-undefended"], [*SMALL, "network.steps=1,2"])
    broken = tmp_path / "runs" / "digits-undefended_steps=1"
    broken.mkdir(parents=True)
    (broken / "something").write_text("else")
    records, failed = sweep.run(cells, out=tmp_path, judging=QUICK)
    assert [record.name for record in records] == ["digits-undefended steps=2"]
    assert "is not empty and holds no run" in failed["digits-undefended steps=1"]
    assert (broken / "something").read_text() == "else"
    assert Record.from_json(json.loads(sweep.record_of(cells[1].recipe, tmp_path).read_text())) == records[0]
