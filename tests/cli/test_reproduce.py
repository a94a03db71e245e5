"""snnguard reproduce: from the command line to the table."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snnguard import reproduce
from snnguard.comparison import Comparison
from snnguard.record import read_json
from snnguard.reproduce import published

Command = Callable[..., Any]
SMALL = ["training.epochs=1", "data.train_size=96", "data.validation_size=32", "data.test_size=32"]


def test_a_dry_run_lists_every_printed_number(snnguard: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each cell of the files, no fewer and no more times than it is printed there."""
    monkeypatch.setattr(reproduce, "estimate", lambda *_: reproduce.Estimate(seconds=1e6, memory=2**30))
    result = snnguard("reproduce", "mpd-sgr/*", "tgo/*", "--scale", "paper", "--dry-run")
    assert result.code == 0, result.out
    listed = Counter(re.findall(r"published ([\d.]+) %", result.out))
    printed = Counter(f"{n:g}" for name in reproduce.names() for n in published.table(name).values())
    assert listed == printed
    assert sum(listed.values()) == 584
    assert "455 networks" in result.out
    assert "12 days" in result.out
    assert "1.0 GiB" in result.out


def test_an_estimate_is_of_what_is_not_there_yet(snnguard: Command, tmp_path: Path) -> None:
    asked = ["reproduce", "tgo/figure-proximal", "--no-spike", "--dry-run", "--out", str(tmp_path)]
    result = snnguard(*asked, *SMALL)
    assert result.code == 0
    assert re.search(r"About \d+ (seconds|minutes)", result.out)
    assert not list(tmp_path.iterdir())


def test_a_table_from_training_to_its_page(snnguard: Command, tmp_path: Path) -> None:
    asked = ["reproduce", "tgo/table-ablation", *SMALL, "--methods", "none,mc", "--training", "vanilla", "--images", "16",
             "--no-spike", "--seeds", "2", "--jobs", "1", "--out", str(tmp_path)]  # fmt: skip
    result = snnguard(*asked)
    assert result.code == 0, result.out
    folder = tmp_path / "outcomes/tgo-table-ablation-tiny"
    made = Comparison.from_json(read_json(folder / "comparison.json"))
    assert {(cell.row, cell.column, cell.seeds) for cell in made.cells} == {
        (row, column, 2) for row in ("none", "mc") for column in ("clean", "fgsm")
    }
    assert made.claims[0].text in result.out
    page = (folder / "report.html").read_text()
    assert made.title in page
    assert made.claims[0].verdict in page
    again = snnguard(*asked)
    assert again.code == 0
    assert Comparison.from_json(read_json(folder / "comparison.json")) == made
    more = snnguard(*asked, "--seeds", "3", "--show")
    assert more.code == 0
    shown = Comparison.from_json(read_json(folder / "comparison.json"))
    assert {cell.seeds for cell in shown.cells} == {2}  # of the three, what is there
    dry = snnguard(*asked, "--dry-run")
    assert dry.out.count("(done)") == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mpd-sgr/table-9"], "did you mean 'mpd-sgr/table-"),
        (["resnet/*"], "no table or figure matches"),
        (["training.epochs=1"], "which table or figure?"),
        (["tgo/table-main", "--scale", "huge"], "unknown scale 'huge'"),
        (["tgo/table-main", "--methods", "tgoo"], "did you mean 'tgo'"),
        (["tgo/table-main", "--seeds", "x"], "--seeds is a count"),
        (["tgo/table-main", "--seeds", "0"], "--seeds is a count"),
        (["tgo/table-main", "--from", "nowhere"], "no run folder"),
        (["tgo/table-main", "--ray", "127.0.0.1:1"], "no Ray cluster answers"),
    ],
)
def test_wrong_requests_say_what_to_do(snnguard: Command, tmp_path: Path, arguments: list[str], said: str) -> None:
    result = snnguard("reproduce", *arguments, "--out", str(tmp_path / "out"))
    assert result.code == 2
    assert said in " ".join(re.sub(r"[│╭╮╰╯─]", " ", result.err).split())
    assert not list((tmp_path / "out").glob("networks/*"))
