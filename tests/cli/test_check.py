"""snnguard check."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from snnguard.attacks import PGD, InputGradient, RandomSearch
from snnguard.cli.check import card
from snnguard.evaluation import Attacker, Entry, Suite, gather, suites
from snnguard.evaluation.checks import CHECKS
from snnguard.neurons import BPTT
from snnguard.record import Flags, Record, Suspicion


def two_steps(attacker: Attacker) -> Suite:
    gradient = attacker.gradient(BPTT())
    entries = (
        Entry(name="pgd-2/bptt", attack=PGD(steps=2, gradient=gradient)),
        Entry(name="random-search", attack=RandomSearch(points=2, draws=attacker.draws)),
    )
    return Suite(name="checks", entries=entries)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(suites.SUITES, "checks", two_steps)


def only(monkeypatch: pytest.MonkeyPatch, *, measured: float) -> None:
    """One check alone, with the limit 0.5."""

    def run(record: Record) -> Iterator[Suspicion]:
        yield Suspicion(code="alone", message=f"{measured} measured [/of] it", measured=measured, limit=0.5)

    for code in list(CHECKS):
        monkeypatch.delitem(CHECKS, code)
    monkeypatch.setitem(CHECKS, "alone", run)


def test_the_card_has_every_check_and_the_code_says_whether_one_is_raised(snnguard: Any, run: Path) -> None:
    said = snnguard("check", run)  # 24 test images, fewer than the 256 that are looked at by default
    record = Record.load(run / "evaluation-checks.json")
    assert said.code == (1 if record.suspicions else 0), said.err
    assert len(record.clean) == 24
    assert [a.name for a in record.attacks] == ["pgd-2/bptt", "random-search"]
    assert (record.curves, record.pictures) == ((), ())
    assert all(code in said.out for code in CHECKS)
    assert said.out.count("suspicious") == len(record.suspicions)
    assert said.out.count("passed") == len(record.passed)
    missing = len(CHECKS) - len({s.code for s in (*record.suspicions, *record.passed)})
    assert said.out.count("not measured") == missing > 0
    assert ("docs/suspicions.md" in said.out) == bool(record.suspicions)
    assert not (run / "evaluation.json").exists()


@pytest.mark.parametrize(("measured", "code", "verdict"), [(0.4, 0, "passed"), (0.6, 1, "suspicious")])
def test_exit_codes(
    measured: float, code: int, verdict: str, snnguard: Any, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, measured=measured)
    said = snnguard("check", run, "--images", 2, "--seed", 3)
    assert said.code == code
    assert verdict in said.out
    assert ("measured [/of] it" in said.out) == (verdict == "suspicious")
    assert ("docs/suspicions.md" in said.out) == (code == 1)
    assert Record.load(run / "evaluation-checks.json").provenance.seed == 3


def test_what_cannot_be_checked(snnguard: Any, run: Path, tmp_path: Path) -> None:
    said = snnguard("check", tmp_path / "nothing")
    assert said.code == 2
    assert "is no run folder" in said.err
    (run / "model.safetensors").unlink()
    said = snnguard("check", run)
    assert said.code == 2
    assert "has no trained model yet" in said.err
    assert snnguard("check", run, "--images", 0).code == 2


def shown(record: Record) -> str:
    with Path("/dev/null").open("w") as nowhere:
        screen = Console(width=200, record=True, file=nowhere)
        screen.print(card(record))
        return screen.export_text()


def test_a_card_by_hand() -> None:
    raised = (
        Suspicion(code="saturated", message="a [bold] message", measured=0.123456, limit=0.05),
        Suspicion(code="saturated", message="another", measured=0.2, limit=0.05),
    )
    passed = (Suspicion(code="state-leaks", message="never shown", measured=0.0, limit=1e-3),)
    record = Record(
        name="a [/odd] name", threat={}, suite="checks", labels=(), clean=Flags((True,) * 7), attacks=(), suspicions=raised,
        passed=passed, provenance=replace(gather(seed=0), hardware="a machine"),
    )  # fmt: skip
    text = shown(record)
    assert "a [/odd] name: 7 images, a machine" in text
    rows = {line.split()[1]: line for line in text.splitlines() if line.startswith("│") and "another" not in line}
    assert [word for word in ("0.123", "0.05", "suspicious", "a [bold] message") if word not in rows["saturated"]] == []
    assert [word for word in ("0.001", "passed") if word not in rows["state-leaks"]] == []
    assert "never shown" not in text
    assert "another" in text
    assert text.count("not measured") == len(CHECKS) - 2
    assert set(rows) >= set(CHECKS)


def test_the_shortened_suite_is_one_of_the_same_kind() -> None:
    short, real = two_steps(Attacker(draws=3)), suites.checks(Attacker(draws=3))
    assert (short.cascade, short.repairs, short.name) == (real.cascade, real.repairs, real.name)
    assert short.entries[0].gradient == InputGradient(rule=BPTT(), draws=3)
