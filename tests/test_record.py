"""Records: intervals against scipy, flags, verdicts counted by hand, JSON, and writing that cannot lose anything."""

import errno
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from snnguard import record as module
from snnguard.errors import RequestError
from snnguard.record import (
    AttackResult,
    Curve,
    Flags,
    Interval,
    Membrane,
    Picture,
    Provenance,
    Record,
    Suspicion,
    read_json,
    write_atomic,
)

quick = settings(deadline=None, derandomize=True, max_examples=60)
bits = st.lists(st.booleans(), max_size=70).map(tuple).map(Flags)


def flags(text: str) -> Flags:
    return Flags(tuple(c == "1" for c in text))


def result(name: str, correct: str, **fields: Any) -> AttackResult:
    values: dict[str, Any] = {"attack": {"kind": "pgd"}, "rule": "bptt", "seed": 0, "seconds": 1.25}
    return AttackResult(name=name, correct=flags(correct), **(values | fields))


@pytest.fixture
def a_record() -> Record:
    return Record(
        name="digits",
        threat={"kind": "linf", "eps": 0.1},
        suite="paper",
        labels=("zero", "eins", "zwei ✓"),
        clean=flags("11110111"),
        attacks=(
            result("fgsm", "11100111"),
            result("pgd", "10110101", draws=3, eval_draws=2, mean_linf=0.1, mean_l2=1.5, zero_gradient_share=0.25),
            result("cw", "00000000", attack={"kind": "cw", "bounded": False}),
        ),
        suspicions=(Suspicion(code="zero-gradient", message="half of it", measured=0.5, limit=0.1),),
        provenance=Provenance(
            command="snnguard evaluate x", created="2026-01-01T00:00:00", commit="abc", versions={"torch": "2"}, hardware="cpu",
            recipe={"kind": "x", "n": [1, 2.5, None]}, data="digits", weights="0" * 64, seed=7,
        ),
        stochastic=True,
        membranes=(
            Membrane(
                layer="body.1", edges=(-1.0, 0.0, 1.0), counts=(3, 4), mean=-0.1, std=0.3, window=1.0, overlap=0.9,
                proximal=0.2, proximal_band=0.1, rate=0.15, dead=0.0,
            ),
        ),
        curves=(Curve(name="pgd", eps=(0.0, 0.1), accuracy=(Interval.of(7, 8), Interval.of(2, 8))),),
        pictures=(
            Picture(
                label="1", clean_label="1", adversarial_label="2", clean="AA==", adversarial="AQ==", difference="Ag==",
                amplification=10.0, attack="PGD-20",
            ),
        ),
        epochs=({"epoch": 0, "loss": 1.5}, {"epoch": 1, "loss": 1.0}),
        notes={"free": ["text", 1]},
    )  # fmt: skip


@quick
@given(st.integers(1, 12_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
def test_interval_is_scipys_wilson_interval(counts: tuple[int, int], confidence: float) -> None:
    hits, total = counts
    ours = Interval.of(hits, total, confidence=confidence)
    theirs = binomtest(hits, total).proportion_ci(confidence_level=confidence, method="wilson")
    assert ours.point == hits / total
    assert ours.low == pytest.approx(theirs.low, abs=1e-9)
    assert ours.high == pytest.approx(theirs.high, abs=1e-9)
    assert 0 <= ours.low <= ours.point <= ours.high <= 1


@pytest.mark.parametrize(("hits", "total"), [(0, 10), (10, 10), (5, 10), (1, 1), (0, 10_000), (874, 1000)])
def test_interval_at_the_default_confidence(hits: int, total: int) -> None:
    theirs = binomtest(hits, total).proportion_ci(confidence_level=0.95, method="wilson")
    ours = Interval.of(hits, total)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_interval_of_nothing_says_nothing() -> None:
    nothing = Interval.of(0, 0)
    assert math.isnan(nothing.point)
    assert (nothing.low, nothing.high) == (0.0, 1.0)


@quick
@given(bits)
def test_flags_pack_and_unpack(values: Flags) -> None:
    packed = json.loads(json.dumps(values.pack()))
    assert Flags.unpack(packed) == values
    assert values.hits == sum(values.values)
    assert len(values) == len(values.values)


@quick
@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40))
def test_flags_combine_per_sample(pairs: list[tuple[bool, bool]]) -> None:
    one, other = Flags(tuple(a for a, _ in pairs)), Flags(tuple(b for _, b in pairs))
    assert (one & other).values == tuple(a and b for a, b in pairs)


def test_flags_have_a_fixed_format() -> None:
    assert flags("1000000010").pack() == {"n": 10, "bits": "AQE="}  # sample 0 is the lowest bit of the first byte
    assert len(json.dumps(Flags((True,) * 10_000).pack())) < 1_750


def test_flags_of_other_lengths_do_not_combine() -> None:
    with pytest.raises(ValueError, match="3 and of 2"):
        flags("111") & flags("11")


@pytest.mark.parametrize(
    "packed", [{"n": 10, "bits": "AQ=="}, {"n": 2, "bits": "AQE="}, {"n": 2, "bits": "/w=="}, {"n": -1, "bits": ""}]
)
def test_flags_with_missing_or_extra_bits_are_refused(packed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="flags"):
        Flags.unpack(packed)


def test_verdicts_counted_by_hand(a_record: Record) -> None:
    # clean 11110111, fgsm 11100111, pgd 10110101: all three at samples 0, 2, 5, 7. The unbounded cw does not count.
    assert a_record.worst_flags == flags("10100101")
    assert a_record.worst == Interval.of(4, 8)
    assert a_record.accuracy == Interval.of(7, 8)
    assert a_record.find("fgsm").accuracy == Interval.of(6, 8)
    # Of the 7 that were right clean, fgsm turned sample 3 and pgd samples 1 and 6.
    assert a_record.find("fgsm").success(a_record.clean) == Interval.of(1, 7)
    assert a_record.find("pgd").success(a_record.clean) == Interval.of(2, 7)
    assert a_record.find("cw").success(a_record.clean) == Interval.of(7, 7)
    # A sample that was wrong clean is no success of an attack, whatever the attack's own flags say there.
    assert result("x", "0000").success(flags("1010")) == Interval.of(2, 2)
    assert result("x", "1111").success(flags("1010")) == Interval.of(0, 2)


def test_success_without_a_right_sample_is_unknown() -> None:
    assert math.isnan(result("x", "00").success(flags("00")).point)


def test_an_unknown_result_names_the_known(a_record: Record) -> None:
    with pytest.raises(KeyError, match="fgsm, pgd, cw"):
        a_record.find("square")


def test_a_record_survives_json(a_record: Record, tmp_path: Path) -> None:
    assert Record.from_json(json.loads(json.dumps(a_record.to_json()))) == a_record
    path = tmp_path / "deep" / "folder" / "record.json"
    a_record.save(path)
    assert Record.load(path) == a_record
    bare = Record(
        name="b", threat={}, suite="s", labels=(), clean=flags("1"), attacks=(), suspicions=(), provenance=a_record.provenance
    )
    assert Record.from_json(json.loads(json.dumps(bare.to_json()))) == bare


def test_a_picture_of_an_older_record_names_no_attack(a_record: Record) -> None:
    data = a_record.to_json()
    del data["pictures"][0]["attack"]
    assert Record.from_json(data).pictures[0].attack == ""


def test_json_says_the_summary_in_plain(a_record: Record) -> None:
    summary = a_record.to_json()["summary"]
    assert summary["clean"]["point"] == 7 / 8
    assert summary["worst"]["point"] == 4 / 8


def test_exhibits_change_nothing_else(a_record: Record) -> None:
    bare = a_record.with_exhibits()
    assert bare.membranes == bare.curves == bare.pictures == bare.epochs == ()
    shown = bare.with_exhibits(
        membranes=a_record.membranes, curves=a_record.curves, pictures=a_record.pictures, epochs=a_record.epochs
    )
    assert shown == a_record


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.pop("clean"),
        lambda d: d.update(schema=99),
        lambda d: d.update(clean=3),
        lambda d: d["clean"].update(bits="AQ"),
        lambda d: d["clean"].update(n=900),
        lambda d: d["attacks"][0].pop("rule"),
        lambda d: d["attacks"][0].update(extra=1),
        lambda d: d.update(attacks=5),
        lambda d: d.update(provenance=None),
        lambda d: d["curves"][0].pop("eps"),
    ],
)
def test_a_damaged_record_is_refused_by_name(damage: Any, a_record: Record, tmp_path: Path) -> None:
    data = json.loads(json.dumps(a_record.to_json()))
    damage(data)
    with pytest.raises(RequestError, match="record"):
        Record.from_json(data)
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(data))
    with pytest.raises(RequestError, match=r"evaluation\.json"):
        Record.load(path)


@pytest.mark.parametrize("text", ["", "{", '{"schema": 1', "[]", "3", "null", '"x"', "\x00\x01", "\xff"])
def test_a_file_that_is_no_record_is_refused_by_name(text: str, tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(RequestError, match=r"evaluation\.json"):
        Record.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"no file .*nowhere\.json"):
        read_json(tmp_path / "nowhere.json")
    with pytest.raises(RequestError, match="not readable"):
        read_json(tmp_path)


def full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class FullFile:
    """A file on a disk that is full: takes half of the data and fails."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def __enter__(self) -> "FullFile":
        return self

    def __exit__(self, *_: Any) -> None:
        self.file.close()

    def write(self, data: bytes) -> None:
        self.file.write(data[: len(data) // 2])
        full()


@pytest.mark.parametrize("where", ["fsync", "write", "replace", "mkstemp"])
def test_a_full_disk_leaves_the_old_file_and_no_other(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.json"
    write_atomic(path, b"old")
    fdopen = os.fdopen
    match where:
        case "fsync":
            monkeypatch.setattr(os, "fsync", full)
        case "write":
            monkeypatch.setattr(os, "fdopen", lambda *args: FullFile(fdopen(*args)))
        case "replace":
            monkeypatch.setattr(Path, "replace", full)
        case "mkstemp":
            monkeypatch.setattr(module.tempfile, "mkstemp", lambda **_: full())
    with pytest.raises(RequestError, match=r"cannot write .*state\.json: No space left on device"):
        write_atomic(path, b"new and longer")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupt_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "state.json"
    write_atomic(path, b"old")
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_writing_replaces_and_makes_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.bin"
    write_atomic(path, b"1")
    write_atomic(path, b"22")
    assert path.read_bytes() == b"22"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RequestError, match="cannot write"):
        write_atomic(tmp_path / "file" / "x.json", b"1")
    assert (tmp_path / "file").read_text() == "in the way"
