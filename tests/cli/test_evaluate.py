"""snnguard evaluate."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from snnguard.attacks import PGD
from snnguard.record import Record


def test_the_quick_suite(snnguard: Any, run: Path) -> None:
    said = snnguard("evaluate", run, "--suite", "quick", "--images", 8)
    assert said.code == 0
    record = Record.load(run / "evaluation-quick.json")
    assert record.suite == "quick"
    assert len(record.clean) == 8
    names = ["fgsm/bptt", "pgd-10/bptt", "fgsm/rate", "pgd-10/rate", "apgd-ce-50/assg", "apgd-dlr-50/assg"]
    assert [a.name for a in record.attacks] == names
    assert record.name in said.out
    assert record.provenance.command.startswith("snnguard evaluate")


def test_verdicts_alone(snnguard: Any, run: Path) -> None:
    assert snnguard("evaluate", run, "--suite", "quick", "--images", 4, "--no-exhibits").code == 0
    record = Record.load(run / "evaluation-quick.json")
    assert (record.curves, record.pictures) == ((), ())
    assert record.membranes


def test_an_untrained_run(snnguard: Any, run: Path) -> None:
    (run / "model.safetensors").unlink()
    said = snnguard("evaluate", run)
    assert said.code == 2
    assert "has no trained model yet" in said.err


def test_damaged_weights(snnguard: Any, run: Path) -> None:
    path = run / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    said = snnguard("evaluate", run)
    assert said.code == 2
    assert "damaged or half-written" in said.err


def test_an_unknown_suite(snnguard: Any, run: Path) -> None:
    said = snnguard("evaluate", run, "--suite", "papr")
    assert said.code == 2
    assert "did you mean 'paper'" in said.err


def test_an_interrupted_evaluation_goes_on(snnguard: Any, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the third batch: exit 130; the same command attacks only what is left and finds the same."""
    asked = ("evaluate", run, "--suite", "quick", "--images", 12, "--batch-size", 4)
    monkeypatch.setattr(importlib.import_module("snnguard.recipes.judge"), "CURVE_SHARES", (0.0, 1.0))
    real, calls, stop = PGD.run, [], 0

    def counted(self: PGD, *given: Any) -> Any:
        calls.append(1)
        if len(calls) == stop:
            raise KeyboardInterrupt
        return real(self, *given)

    monkeypatch.setattr(PGD, "run", counted)
    assert snnguard(*asked, "--out", tmp_path / "whole.json").code == 0
    needed, stop = len(calls), 4  # the first belongs to the probes
    calls.clear()
    stopped = snnguard(*asked)
    assert stopped.code == 130
    assert "run the same command to go on" in stopped.out
    assert not (run / "evaluation-quick.json").exists()
    [kept] = run.glob("unfinished/evaluation-quick-*/*.jsonl")
    assert len([text for text in kept.read_text().splitlines() if text]) >= 2
    kept.write_text(kept.read_text() + '\n{"attack": "fgsm/bp')
    stop = 0
    calls.clear()
    assert snnguard(*asked).code == 0
    assert len(calls) == needed - 2
    whole, found = Record.load(tmp_path / "whole.json"), Record.load(run / "evaluation-quick.json")
    assert found.clean == whole.clean
    assert [(a.name, a.correct, a.mean_l2) for a in found.attacks] == [(a.name, a.correct, a.mean_l2) for a in whole.attacks]
    assert not list((run / "unfinished").rglob("*"))


def test_the_validation_split(snnguard: Any, run: Path) -> None:
    assert snnguard("evaluate", run, "--suite", "quick", "--images", 4, "--split", "validation").code == 0
    assert json.loads((run / "evaluation-quick-validation.json").read_text())["clean"]["n"] == 4
    assert not (run / "evaluation-quick.json").exists()
