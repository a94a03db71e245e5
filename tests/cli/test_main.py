"""Exit codes and messages of the command as such."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from snnguard.cli import main as module
from snnguard.errors import AttackFault

VERBS = ("demo", "train", "evaluate", "attack", "report", "list", "doctor", "sweep", "certify")


def test_help_names_every_verb(snnguard: Any) -> None:
    said = snnguard("--help")
    assert said.code == 0
    assert all(verb in said.out for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, snnguard: Any) -> None:
    assert snnguard(verb, "--help").code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tarin",), "tarin"),
        (("train",), "RECIPE"),
        (("train", "digits-at", "--outt", "x"), "--outt"),
        (("train", "digits-mpd"), "'digits-mpd-sgr'"),
        (("train", "none.toml"), "no recipe file none.toml"),
        (("train", "digits-at", "training.epochs=three"), "training.epochs"),
        (("train", "digits-at", "defense=mpd-sgrr"), "did you mean 'mpd-sgr'"),
        (("evaluate", "nowhere"), "is no run folder"),
        (("evaluate", "nowhere", "--split", "train"), "test or validation"),
        (("evaluate", "a", "b", "--out", "c.json"), "give one run"),
        (("evaluate", "nowhere", "--images", "0"), "images"),
        (("attack", "nowhere"), "is no run folder"),
        (("report", "nowhere.json"), "no file nowhere.json"),
        (("report",), "RUN"),
        (("list", "atacks"), "did you mean 'attacks'"),
    ],
)
def test_a_wrong_request_exits_with_2_and_one_message(
    arguments: tuple[str, ...], said: str, snnguard: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = snnguard(*arguments)
    assert found.code == 2
    assert said in found.err
    assert "Traceback" not in found.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("error", "code"), [(AttackFault("left the ball"), 1), (KeyboardInterrupt(), 130)])
def test_other_ends(error: BaseException, code: int, snnguard: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(module, "app", fail)
    assert snnguard("list").code == code


def test_as_a_process_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from snnguard.cli.main import main; main()", "evaluate", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 2
    assert done.stderr.startswith("snnguard: ")
    assert "is no run folder" in done.stderr
    assert "Traceback" not in done.stderr
