"""Sweeps: which cells a request names, and that a sweep leaves the same records as its parts and goes on where it stopped."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from snnguard import recipes
from snnguard.data import load
from snnguard.errors import InvalidRecipe, RequestError, UnknownName
from snnguard.recipes import sweep
from snnguard.record import Record
from snnguard.training.checkpoint import read_latest

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
    sweep.record_of(cells[1].recipe, tmp_path).unlink()
    again, _ = sweep.run(cells, out=tmp_path, judging=QUICK)
    assert path.stat().st_mtime_ns == written  # what is done is only read
    assert again[1].clean == records[1].clean


def test_what_was_judged_otherwise_is_judged_again(tmp_path: Path) -> None:
    [cell] = sweep.cells(["digits-undefended"], [*SMALL, "network.steps=1"])
    [record], _ = sweep.run([cell], out=tmp_path, judging=QUICK)
    path, data = sweep.record_of(cell.recipe, tmp_path), load(cell.recipe.data).describe()
    request = dataclasses.asdict(QUICK)
    assert sweep._judged(path, cell.recipe, request, data)
    for field, other in {"suite": "paper", "images": None, "split": "validation", "seed": 1, "draws": 5}.items():
        assert not sweep._judged(path, cell.recipe, {**request, field: other}, data), field
    assert not sweep._judged(path, cell.recipe, request, "other images")
    [more], _ = sweep.run([cell], out=tmp_path, judging=dataclasses.replace(QUICK, images=32))
    assert (len(record.clean), len(more.clean)) == (16, 32)

    # Another recipe under the same name is refused by its run folder, not answered with the old network.
    [other] = sweep.cells(["digits-undefended"], [*SMALL, "network.steps=1", "seed=7"])
    records, failed = sweep.run([other], out=tmp_path, judging=QUICK)
    assert not records
    assert "they differ in seed" in failed["digits-undefended"]


def test_cells_that_would_share_a_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="two cells are called 'digits-undefended steps=2'"):
        sweep.cells(["digits-undefended"], ["network.steps=2,2"])
    with pytest.raises(RequestError, match="two cells are called 'x'"):
        sweep.cells(["digits-undefended", "digits-tgo"], ["name=x"])
    both = sweep.cells(["digits-at"], ["network.steps=2,4", "defense.attack.steps=1,2"])
    assert both[1].recipe.name == "digits-at network.steps=2 defense.attack.steps=2"


def test_a_suite_that_does_not_exist_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="unknown suite 'papr'"):
        sweep.run(sweep.cells(["digits-undefended"]), out=tmp_path, judging=sweep.Judging(suite="papr"))
    assert not list(tmp_path.iterdir())


def test_ctrl_c_saves_what_runs_and_begins_nothing_more(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from snnguard.cli.main import main; main()", "sweep", "digits-undefended",
               "network.steps=1,2,4", "training.epochs=500", "--jobs", "2", "--out", str(tmp_path)]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    states = tmp_path / "runs"
    deadline = time.monotonic() + 60
    while len(list(states.glob("*/metrics.jsonl"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the command and to its workers
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "run the same command to go on" in out
    assert not (states / "digits-undefended_steps=4").exists()
    assert "Traceback" not in err
    for name in ("steps=1", "steps=2"):
        _, card = read_latest(states / f"digits-undefended_{name}" / "state.safetensors")  # type: ignore[misc]
        assert card["step"] > 0


def test_a_killed_sweep_takes_its_workers_with_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from snnguard.cli.main import main; main()", "sweep", "digits-undefended",
               "training.epochs=500", "--out", str(tmp_path)]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    metrics = tmp_path / "runs" / "digits-undefended" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not metrics.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert metrics.exists()
    process.kill()
    process.wait()
    while alive(process.pid) and time.monotonic() < deadline + 30:
        time.sleep(0.1)
    assert not alive(process.pid)


def alive(group: int) -> bool:
    """Whether any process of the group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


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
