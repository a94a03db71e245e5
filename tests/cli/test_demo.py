"""snnguard demo, with tiny recipes: the real one takes minutes."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from snnguard import recipes
from snnguard.record import Record

demo = importlib.import_module("snnguard.cli.demo")
SMALL = (
    "data.name=fake", "data.train_size=16", "data.validation_size=8", "data.test_size=6", "network.steps=1",
    "training.epochs=1", "training.batch_size=8", "training.device=cpu",
)  # fmt: skip


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    real, judge = recipes.get, recipes.judge
    monkeypatch.setattr(recipes, "get", lambda name: recipes.Recipe.parse(recipes.overridden(real(name).to_json(), SMALL)))
    monkeypatch.setattr(recipes, "judge", lambda run, **given: judge(run, **(given | {"suite_name": "quick"})))


def test_it_leaves_results_and_a_page(small: None, snnguard: Any, tmp_path: Path) -> None:
    said = snnguard("demo", "--out", tmp_path / "demo")
    assert said.code == 0, said.err
    results = json.loads((tmp_path / "demo" / "results.json").read_text())
    records = [Record.from_json(data) for data in results["records"]]
    assert [record.name for record in records] == list(demo.SHOWN)
    assert all(name in said.out for name in demo.SHOWN)
    page = (tmp_path / "demo" / "report.html").read_text()
    assert all(name in page for name in demo.SHOWN)
    for name in demo.SHOWN:
        assert recipes.open_run(tmp_path / "demo" / name).trained


def test_stopped_and_gone_on(small: None, snnguard: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import signal

    from snnguard.training.fit import Loop

    real = Loop.step

    def step(self: Loop) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return real(self)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "step", step)
        said = snnguard("demo", "--out", tmp_path / "demo")
    assert said.code == 130
    assert "run the same command to go on" in said.out
    assert not (tmp_path / "demo" / "results.json").exists()
    assert snnguard("demo", "--out", tmp_path / "demo").code == 0


def test_it_shows_the_four_networks_of_the_issue() -> None:
    assert demo.SHOWN == ("digits-undefended", "digits-mpd-sgr", "digits-tgo", "digits-at-mpd-sgr")
