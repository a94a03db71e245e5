"""Tables and figures whose columns are more than attacks: each from training to its numbers."""

from pathlib import Path

import pytest

from snnguard import reproduce
from snnguard.reproduce import SCALES, Request, grid

SMALL = ("training.epochs=3", "training.batch_size=16", "data.train_size=128", "data.validation_size=32", "data.test_size=32")


def cells(name: str, out: Path, **only: tuple[str, ...]) -> dict[tuple[str, str], float | None]:
    request = Request(scale=SCALES["tiny"], only=only, seeds=(0,), images=8, spike=False, settings=SMALL)
    chosen = reproduce.choose(reproduce.get(name), request)
    failed = grid.train_and_judge(reproduce.jobs([chosen]), out)
    assert not failed
    return {(cell.row, cell.column): cell.ours for cell in reproduce.outcome(chosen, out).comparison.cells}


@pytest.mark.parametrize("name", ["tgo/figure-landscape", "tgo/figure-proximal"])
def test_readings_of_trained_networks(name: str, tmp_path: Path) -> None:
    found = cells(name, tmp_path)
    assert [row for row, _ in found] == ["vanilla", "tgo"]
    numbers = list(found.values())
    assert None not in numbers
    assert numbers[0] != numbers[1], found


def test_readings_over_training(tmp_path: Path) -> None:
    found = cells("mpd-sgr/figure-s4", tmp_path)
    assert len(found) == 12
    assert all(0 <= value <= 100 for (_, column), value in found.items() if value is not None and "overlap" in column)
    last = {column: value for (_, column), value in found.items() if column.endswith("3/3")}
    assert None not in last.values()


def test_the_checklist(tmp_path: Path) -> None:
    found = cells("mpd-sgr/table-s3", tmp_path)
    assert len(found) == 5
    assert found["mpd-sgr", "check:fgsm-beats-pgd"] is not None
    assert set(found.values()) <= {0.0, 100.0, None}


def test_images_from_a_substitute(tmp_path: Path) -> None:
    found = cells("mpd-sgr/figure-3", tmp_path, method=("reg",), attack=("twin:fgsm", "fgsm"))
    assert {column for _, column in found} == {"clean", "twin:fgsm", "fgsm"}
    assert all(value is not None for value in found.values())
    [substitute] = (tmp_path / "networks").glob("*/substitutes/twin/model.safetensors")
    assert substitute.exists()
