"""snnguard list."""

import json
from typing import Any

import pytest

from snnguard.cli.list import LISTS


@pytest.mark.parametrize("what", list(LISTS))
def test_every_list_in_both_forms(what: str, snnguard: Any) -> None:
    shown, machine = snnguard("list", what), snnguard("list", what, "--json")
    assert (shown.code, machine.code) == (0, 0)
    entries = json.loads(machine.out)
    assert entries
    for entry in entries:
        assert entry["name"] in shown.out
        assert isinstance(entry["description"], str)


def test_all_names_at_once(snnguard: Any) -> None:
    said = snnguard("list")
    assert said.code == 0
    for what, make in LISTS.items():
        assert what in said.out
        assert make()[0]["name"] in said.out


def test_all_lists_as_json(snnguard: Any) -> None:
    assert json.loads(snnguard("list", "--json").out).keys() == LISTS.keys()


def test_every_defense_says_what_it_changes_and_where_it_is_from(snnguard: Any) -> None:
    entries = {e["name"]: e for e in json.loads(snnguard("list", "defenses", "--json").out)}
    for name in ("at", "mpd-sgr", "tgo", "reg"):
        assert entries[name]["changes"]
        assert entries[name]["source"]
        assert entries[name]["description"]
