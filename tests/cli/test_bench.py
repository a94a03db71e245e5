"""snnguard bench."""

import json
from pathlib import Path
from typing import Any


def test_it_prints_a_table_and_writes_the_figures(snnguard: Any, tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    size = ("--network", "vgg5-slim", "-T", "2", "--batch", "2", "--rounds", "1")
    done = snnguard("bench", *size, "--work", "input gradient", "--out", out)
    assert done.code == 0, done.err
    assert "| input gradient, vgg5-slim, T=2, batch 2, float32 |" in done.out
    found = json.loads(out.read_text())
    assert {row["contestant"] for row in found["rows"]} >= {"floor", "snnguard", "loop"}
    assert found["command"]
    assert found["hardware"]


def test_wrong_wishes_are_refused(snnguard: Any) -> None:
    for wish in (["--precision", "float8"], ["--work", "coffee"], ["--network", "vgg99"]):
        done = snnguard("bench", *wish)
        assert done.code == 2
        assert wish[1] in done.err
