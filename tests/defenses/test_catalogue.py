"""The table of contents: every member once, with words that are true of the instance, and costs that were measured."""

import json
from pathlib import Path

import pytest

from snnguard.defenses import MPDSGR, TGO, Defense, Stack, catalogue, rat
from snnguard.defenses.catalogue import equation

ROOT = Path(__file__).parents[2]
ENTRIES = {entry.name: entry for entry in catalogue()}


def test_every_member_stands_in_it_once() -> None:
    assert list(ENTRIES) == list(Defense.members())
    assert all(entry.description for entry in ENTRIES.values())


@pytest.mark.parametrize("name", [name for name in ENTRIES if name != "stack"])
def test_source_and_changes(name: str) -> None:
    entry = ENTRIES[name]
    assert entry.source
    assert set(entry.changes.split(", ")) <= {"loss", "data", "weights", "neuron", "encoding", "residual"}


def test_what_settings_switch_off_is_not_listed() -> None:
    assert [ENTRIES[name].changes for name in ("tgo", "tgo-mc", "tgo-nlif")] == ["loss, neuron", "loss", "neuron"]
    assert ENTRIES["rat"].changes == rat().touches() == "data, weights, residual"
    assert Stack(parts=(MPDSGR(), TGO(lambda_max=0))).touches() == "loss, neuron"
    assert "SNN-RAT" in ENTRIES["rat"].source
    assert "Madry" in ENTRIES["rat"].source


def test_costs_are_those_that_the_benchmark_measured() -> None:
    measured = json.loads((ROOT / "benchmarks/defense_cost.json").read_text())["steps"]
    assert {name: entry.cost for name, entry in ENTRIES.items() if entry.cost is not None} == {
        name: row["ratio"] for name, row in measured.items()
    }
    assert {"mpd-sgr", "tgo", "at", "trades", "stog", "feel"} <= measured.keys()  # a new one may still be unmeasured


def test_descriptions_hold_the_equation() -> None:
    assert "eta * mean of Omega" in equation("mpd-sgr")
