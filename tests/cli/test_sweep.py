"""snnguard sweep, as a person types it."""

import json
from pathlib import Path
from typing import Any

SMALL = ("training.epochs=1", "data.train_size=96", "data.validation_size=32", "data.test_size=32", "network.steps=2")


def test_a_sweep_leaves_records_a_table_and_a_map(snnguard: Any, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    said = snnguard(
        "sweep", "digits-undefended", *SMALL, "network.neuron.decay=0.5,1.0", "--out", out, "--suite", "quick", "--images", 16,
        "--jobs", 1,
    )  # fmt: skip
    assert said.code == 0, said.err
    assert sorted(path.name for path in out.glob("*.json")) == [
        "digits-undefended_decay=0.5.json", "digits-undefended_decay=1.0.json",
    ]  # fmt: skip
    assert "digits-undefended decay=0.5" in said.out
    assert "decay=1.0" in (out / "table.md").read_text()
    assert (out / "heatmap.html").stat().st_size > 1000
    recipe = json.loads((out / "digits-undefended_decay=0.5.json").read_text())["provenance"]["recipe"]
    assert recipe["network"]["neuron"]["decay"] == 0.5


def test_requests_that_make_no_sweep(snnguard: Any, tmp_path: Path) -> None:
    said = snnguard("sweep", "training.epochs=1", "--out", tmp_path / "none")
    assert said.code == 2
    assert "at least one name" in said.err
    said = snnguard("sweep", "digits-mpd", "--out", tmp_path / "none")
    assert said.code == 2
    assert "did you mean" in said.err
    assert snnguard("sweep", "digits-at", "--split", "train", "--out", tmp_path / "none").code == 2
    assert not (tmp_path / "none").exists()
