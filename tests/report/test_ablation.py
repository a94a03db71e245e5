"""The tables that set the suites side by side, from made-up verdicts."""

from dataclasses import replace
from typing import Any

import pytest
from ablation import ablation, beside_spike, compared, histograms, standard

from snnguard.record import Flags, Record

FALLEN: dict[str, set[int]] = {
    "sa-pgd/pdsg": {0},
    "apgd-ce/pdsg": {1},
    "sa-pgd/assg(share=0.45)": {0, 1, 2},
    "apgd-ce/assg(share=0.45)": {0, 1},
    "transfer-twin": set(),
    "apgd-t/pdsg": {3},
    "apgd-t/assg(share=0.45)": {0, 2},
    "fab-t/pdsg": {0, 4},
    "square": {4},
}
"""Which of eight right images each attack turns; 5, 6 and 7 stand, 8 and 9 are wrong to begin with."""


@pytest.fixture
def judged(attack: Any, record: Any) -> Record:
    attacks = [
        replace(attack(name, 0, 10), correct=Flags(tuple(i < 8 and i not in fallen for i in range(10))), attacked=8,
                forwards=8000, backwards=16000, rule=name.partition("/")[2])
        for name, fallen in FALLEN.items()
    ]  # fmt: skip
    return record("net", 8, 10, attacks=attacks, suite="spike")


def cells(table: str, row: str) -> list[str]:
    [line] = [line for line in table.splitlines() if line.startswith(f"| {row} |")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_autoattack_is_what_the_best_gradient_and_square_leave(judged: Record) -> None:
    assert [a.name for a in standard(judged)] == ["apgd-ce/pdsg", "apgd-t/pdsg", "fab-t/pdsg", "square"]
    assert [a.name for a in standard(replace(judged, stochastic=True))] == ["apgd-ce/pdsg", "apgd-t/pdsg", "fab-t/pdsg"]


def test_the_suites_side_by_side_on_the_images_of_the_shorter_record(judged: Record, record: Any, suspicion: Any) -> None:
    judged = replace(judged, suspicions=(suspicion("rules-disagree"), suspicion("dead-channels")))
    longer = record("net", 16, 20, attacks={"pgd-7/bptt": 6, "pgd-40/bptt": 5})
    row = cells(compared([judged], [longer], []), "net")
    assert row == ["10", "80", "60", "50", "40", "**30**", "`dead-channels`, `rules-disagree`"]
    assert cells(compared([judged], [replace(longer, threat={"kind": "l2", "eps": 1.0})], []), "net")[2:4] == ["", ""]
    other = replace(longer, provenance=replace(longer.provenance, weights="sha256:11"))
    assert cells(compared([judged], [other], []), "net")[2:4] == ["", ""]  # another network's record says nothing of this one


def opening(judged: Record, attack: Any) -> Record:
    """`quick` on the same images: FGSM turns 4, APGD under ASSG 3, 4 and 5."""
    attacks = [
        replace(
            attack(name, 0, 10), correct=Flags(tuple(i < 8 and i not in fallen for i in range(10))), forwards=80, backwards=40
        )
        for name, fallen in (("fgsm/bptt", {4}), ("apgd-ce-50/assg", {3, 4, 5}))
    ]
    return replace(judged, attacks=tuple(attacks), suite="quick")


def test_spike_opens_with_quick_where_its_record_does_not(judged: Record, attack: Any) -> None:
    assert cells(compared([judged], [], [opening(judged, attack)]), "net")[5] == "**20**"
    assert cells(compared([judged], [], []), "net")[5] == "**30**"


def test_quick_beside_spike(judged: Record, attack: Any) -> None:
    """Of 8 images FGSM leaves 7, quick 5, spike 3, both 2; passes count a backward pass twice, per image that is right."""
    table = beside_spike([opening(judged, attack)], [judged])
    assert cells(table, "net") == ["8", "7", "5", "40", "3", "45000", "**2**"]
    assert cells(table, "**all**") == cells(table, "net")
    with pytest.raises(SystemExit, match="saw other images"):
        beside_spike([replace(opening(judged, attack), clean=Flags((True,) * 10))], [judged])


def test_what_stands_after_a_part_alone_and_what_falls_to_it_alone(judged: Record) -> None:
    table = ablation([judged])
    assert cells(table, "clean") == ["", "8"]
    assert cells(table, "all of spike") == ["", "**3**"]
    assert cells(table, "pdsg")[1] == "5 (1)"  # 0, 1, 3; of these 3 falls to nothing else
    assert cells(table, "assg")[1] == "5 (1)"  # 0, 1, 2; of these 2
    assert cells(table, "fab-t")[1] == "6 (0)"  # 0, 4; Square finds 4 as well
    assert cells(table, "transfer")[1] == "8 (0)"
    assert cells(table, "apgd-t")[1] == "5 (1)"  # 0, 2, 3
    assert cells(table, "square")[0] == "5.0 k"  # a thousand forwards and twice as many backwards for an image
    assert cells(table, "apgd-ce")[0] == cells(ablation([judged, judged]), "apgd-ce")[0] == "10.0 k"  # under two gradients


def test_a_part_that_a_network_was_not_asked_is_a_dash(judged: Record) -> None:
    without = replace(judged, attacks=tuple(a for a in judged.attacks if a.name != "transfer-twin"))
    assert cells(ablation([judged, without]), "transfer")[1:] == ["8 (0)", "–"]


def test_what_a_defense_adds_is_no_part_of_spike(judged: Record, attack: Any) -> None:
    own = replace(attack("adaptive-1", 8, 10), rule="own", attacked=8)
    table = ablation([replace(judged, attacks=(*judged.attacks, own))])
    assert "adaptive" not in table
    assert "own" not in table


def test_the_columns_of_a_cascade_are_refused(judged: Record) -> None:
    for table in (ablation, lambda records: compared(records, [], [])):
        with pytest.raises(SystemExit, match="judge it again with --full"):
            table([replace(judged, cascade=True)])


def test_bars_show_where_the_potentials_lie(judged: Record, membrane: Any) -> None:
    low, high = (replace(judged, membranes=(membrane("a", mean=mean, std=0.3),), name=name) for name, mean in
                 (("low", -1.5), ("high", 1.5)))  # fmt: skip
    table = histograms([low, high])
    for name, side in (("low", 0), ("high", 1)):
        [line] = [line for line in table.splitlines() if line.startswith(f"| {name}")]
        halves = line.split("`")[1].split("|")
        assert "█" in halves[side]
        assert set(halves[1 - side]) <= {" ", "▁"}
