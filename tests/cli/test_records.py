"""snnguard merge, compare, leaderboard and verify."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from snnguard import recipes
from snnguard.evaluation import Shard
from snnguard.record import Flags, Record

IMAGES = 5


@pytest.fixture(scope="module")
def judged(_trained: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    """The quick suite on five images, and on their two shards; every image is judged by itself."""
    folder, run = tmp_path_factory.mktemp("records"), recipes.open_run(_trained)

    def judge(shard: Shard | None) -> Record:
        return recipes.judge(run, suite_name="quick", images=IMAGES, batch_size=1, exhibits=False, shard=shard,
                             out=folder / "record.json")  # fmt: skip

    return {"whole": judge(None), "0": judge(Shard(index=0, of=2)), "1": judge(Shard(index=1, of=2))}


@pytest.fixture
def saved(judged: dict[str, Record], tmp_path: Path) -> Callable[..., Path]:
    """saved("whole", **changes): the path of a record, changed if asked."""

    def save(which: str, **changes: Any) -> Path:
        path = tmp_path / "records" / f"{which}-{len(list(tmp_path.rglob('*.json')))}.json"
        replace(judged[which], **changes).save(path)
        return path

    return save


Saved = Callable[..., Path]


def words(said: Any) -> str:
    return " ".join(said.out.split())


# --- merge ----------------------------------------------------------------------------------------------------------


def test_merge(snnguard: Any, saved: Saved, judged: dict[str, Record], tmp_path: Path) -> None:
    out = tmp_path / "merged" / "whole.json"
    said = snnguard("merge", saved("1"), saved("0"), "--out", out)
    assert said.code == 0, said.err
    assert judged["whole"].name in said.out
    record = Record.load(out)
    assert record.clean == judged["whole"].clean
    assert [a.correct for a in record.attacks] == [a.correct for a in judged["whole"].attacks]
    assert record.provenance.data == judged["whole"].provenance.data


def test_what_is_no_whole_is_not_merged(snnguard: Any, saved: Saved, tmp_path: Path) -> None:
    out = tmp_path / "merged.json"
    said = snnguard("merge", saved("0"), saved("0"), "--out", out)
    assert said.code == 2
    assert "each of the 2 shards once; found 0, 0" in said.err
    assert snnguard("merge", saved("0"), saved("whole"), "--out", out).code == 2
    assert snnguard("merge", saved("0"), tmp_path / "gone.json", "--out", out).code == 2
    assert snnguard("merge", saved("0")).code == 2  # where to?
    assert not out.exists()


def test_shards_of_other_images_are_not_merged(snnguard: Any, saved: Saved, judged: dict[str, Record], tmp_path: Path) -> None:
    made = judged["1"].provenance
    other = saved("1", provenance=replace(made, data=made.data.replace("judged: 5", "judged: 50")))
    said = snnguard("merge", saved("0"), other, "--out", tmp_path / "merged.json")
    assert said.code == 2
    assert "differ in data" in said.err


# --- compare --------------------------------------------------------------------------------------------------------


def test_compare(snnguard: Any, saved: Saved, judged: dict[str, Record]) -> None:
    whole = judged["whole"]
    fallen = [replace(a, correct=Flags((False,) * IMAGES)) for a in whole.attacks]
    standing = [replace(a, correct=Flags((True,) * IMAGES)) for a in whole.attacks[:-1]]
    everyone = Flags((True,) * IMAGES)
    one = saved("whole", clean=everyone, attacks=tuple(standing), name="one [/name]")
    other = saved("whole", clean=everyone, attacks=tuple(fallen), name="other")
    said = snnguard("compare", one, other)
    assert said.code == 0, said.err
    assert f"other against one [/name]: {IMAGES} images" in words(said)
    rows = {line.split("│")[1].strip(): [cell.strip() for cell in line.split("│")[2:-1]] for line in said.out.splitlines()
            if line.startswith("│")}  # fmt: skip
    p = f"{2 / 2**IMAGES:.2g}"  # all of five on one side, or on the other
    assert rows == {
        "clean": ["0", "0", "+0.0", "1"], **{a.name: ["5", "0", "-100.0", p] for a in standing},
        "worst case": ["5", "0", "-100.0", p],
    }  # fmt: skip


def test_records_of_other_images_are_not_compared(snnguard: Any, saved: Saved) -> None:
    said = snnguard("compare", saved("whole"), saved("0"))
    assert said.code == 2
    assert "not judged on the same images" in said.err
    assert snnguard("compare", saved("0"), saved("1")).code == 2


# --- leaderboard ----------------------------------------------------------------------------------------------------


def test_leaderboard(snnguard: Any, saved: Saved, judged: dict[str, Record], tmp_path: Path) -> None:
    folder = saved("whole").parent
    saved("whole", suite="spike", name="a [/b] name")
    (folder / "other.json").write_text('{"kept": "out"}')
    said = snnguard("leaderboard", folder, "--out", tmp_path / "board")
    assert said.code == 0, said.err
    assert {path.name for path in (tmp_path / "board").iterdir()} == {
        "leaderboard.md", "leaderboard.json", "leaderboard.html",
    }  # fmt: skip
    [line] = json.loads((tmp_path / "board" / "leaderboard.json").read_text())
    assert line["spike_acc"] == round(100 * judged["whole"].worst.point, 2)
    assert line["weights"] == judged["whole"].provenance.weights
    assert "suspicions" in said.out


def test_no_record_in_the_folder(snnguard: Any, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"kept": "out"}')
    said = snnguard("leaderboard", tmp_path, "--out", tmp_path / "board")
    assert said.code == 2
    assert "no record in" in said.err
    assert not (tmp_path / "board").exists()


# --- verify ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["whole", "1"])
def test_an_honest_record_holds(name: str, snnguard: Any, saved: Saved, run: Path, judged: dict[str, Record]) -> None:
    said = snnguard("verify", saved(name), run, "--images", 2, "--sample-seed", 1)
    assert said.code == 0, said.err + said.out
    compared = 2 * (1 + len(judged[name].attacks))
    assert f"2 images judged again: 0 of {compared} verdicts differ, 0 images fall" in words(said)
    assert "It holds." in words(said)


def test_an_invented_record_does_not_hold(snnguard: Any, saved: Saved, run: Path, judged: dict[str, Record]) -> None:
    turned = [replace(a, correct=Flags(tuple(not v for v in a.correct.values))) for a in judged["whole"].attacks]
    said = snnguard("verify", saved("whole", attacks=tuple(turned)), run, "--images", 2)
    assert said.code == 1
    assert "It does not hold." in words(said)


def test_a_record_of_something_else_is_not_verified(
    snnguard: Any, saved: Saved, run: Path, judged: dict[str, Record], tmp_path: Path
) -> None:
    made = judged["whole"].provenance
    said = snnguard("verify", saved("whole", provenance=replace(made, weights="0123456789abcdef")), run)
    assert said.code == 2
    assert f"is about weights 0123456789ab, {run} has {made.weights[:12]}" in said.err
    other = replace(made, data=made.data.replace("fingerprint ", "fingerprint 0"))
    said = snnguard("verify", saved("whole", provenance=other), run)
    assert said.code == 2
    assert "is about other images" in said.err
    said = snnguard("verify", saved("whole", clean=Flags((True,) * 100), attacks=()), run)
    assert said.code == 2
    assert "about 100 images, found 24" in said.err
    assert snnguard("verify", saved("whole"), tmp_path / "nothing").code == 2
    assert snnguard("verify", tmp_path / "gone.json", run).code == 2
