"""snnguard analyse."""

import json
from pathlib import Path
from typing import Any

from snnguard.findings import Findings


def test_what_it_writes_and_says(snnguard: Any, run: Path, tmp_path: Path) -> None:
    asked = ("--what", "membranes", "--what", "energy", "--what", "classes")
    said = snnguard("analyse", run, "--images", 6, *asked, "--out", tmp_path / "out", "--seed", 4)
    assert said.code == 0, said.err
    text = (tmp_path / "out" / "analysis.json").read_text()
    found = Findings.load(tmp_path / "out" / "analysis.json")
    assert (found.images, found.seed) == (6, 4)
    assert found.membranes
    assert found.energy
    assert found.classes
    assert not found.flips
    assert found.provenance is not None
    assert found.provenance.weights == json.loads((run / "model.json").read_text())["sha256"]
    assert found.provenance.data.endswith("; analysed: 6 test images")
    assert str(tmp_path) not in text
    page = (tmp_path / "out" / "analysis.html").read_text()
    assert str(tmp_path) not in page
    assert "nJ per image" in page
    assert "nJ for the same network as an ANN" in said.out
    assert "flips" not in said.out
    snnguard("analyse", run, "--images", 6, *asked, "--out", tmp_path / "again", "--seed", 4)
    again = Findings.load(tmp_path / "again" / "analysis.json")
    assert (again.membranes, again.energy, again.classes) == (found.membranes, found.energy, found.classes)


def test_by_default_it_writes_into_the_run(snnguard: Any, run: Path) -> None:
    assert snnguard("analyse", run, "--what", "gradients", "--images", 2, "--batch-size", 1).code == 0
    assert (run / "analysis.json").exists()
    assert (run / "analysis.html").exists()


def test_an_unknown_analysis_is_refused_with_the_nearest(snnguard: Any, run: Path) -> None:
    said = snnguard("analyse", run, "--what", "membrane", "--images", 2)
    assert said.code == 2
    assert "did you mean 'membranes'" in said.err
    assert not (run / "analysis.json").exists()


def test_a_folder_without_a_run_is_refused(snnguard: Any, tmp_path: Path) -> None:
    said = snnguard("analyse", tmp_path)
    assert said.code == 2
    assert "no run folder" in said.err
