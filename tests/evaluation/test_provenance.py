"""Where a number comes from."""

import re
from datetime import datetime

import pytest
import torch

from snnguard.evaluation import gather
from snnguard.evaluation.provenance import command_line, commit


def test_provenance_names_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/bin/snnguard", "evaluate", "runs/x"])
    found = gather(seed=3, recipe={"name": "r"}, data="digits", weights="abc")
    assert found.command == "snnguard evaluate runs/x"
    assert datetime.fromisoformat(found.created).utcoffset() is not None
    assert found.versions["torch"] == torch.__version__
    assert {"snnguard", "numpy", "python"} <= set(found.versions)
    assert found.hardware
    assert (found.seed, found.recipe, found.data, found.weights) == (3, {"name": "r"}, "digits", "abc")


def test_the_commit_is_named_or_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert commit() == "unknown" or re.fullmatch(r"\S*[0-9a-f]{7,12}(-dirty)?", commit())
    monkeypatch.setenv("PATH", "")
    assert commit() == "unknown"
    assert command_line()


def test_the_command_names_no_folder_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = ["/somewhere/bin/snnguard", "train", "x", "data.path=/home/me/cifar10", "--out", "/home/me/runs/x", "a=8/255"]
    monkeypatch.setattr("sys.argv", typed)
    assert command_line() == "snnguard train x data.path=cifar10 --out x a=8/255"
