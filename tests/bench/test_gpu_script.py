"""The script for a lent GPU runs to its end in its tiny mode, so that no GPU time is spent on finding mistakes."""

import json
import sys
from pathlib import Path

import pytest

import gpu


def test_it_checks_measures_trains_and_judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--tiny", "--out", str(tmp_path / "out"), "--networks", "mpd-sgr,no-such"])
    gpu.main()
    kept = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert kept["kernels"]["cases"] == 40
    differences = kept["kernels"]["largest relative difference"]
    assert differences["spikes that differ"] == 0
    assert max(differences.values()) < 1e-5
    assert kept["around the loop"] == {"cases": 4, "share of gradients that differ": 0.0, "spikes come back from bits": True}
    assert {row["contestant"] for row in kept["speed"]} >= {"floor", "snnguard", "loop"}
    assert kept["trained mpd-sgr"]["epochs"] == 1
    assert (tmp_path / "out" / "digits-mpd-sgr.json").exists()
    assert "UnknownName" in kept["trained no-such"]["failed"]  # one that fails is said, and stops nothing
