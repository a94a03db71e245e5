"""The leaderboard: a line per model and threat, for people, for browsers and for RobustBench."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from snnguard.errors import RequestError
from snnguard.record import Interval
from snnguard.report.leaderboard import Line, gathered, lines, markdown, write

NASTY = "a|b <script>alert(1)</script> `c`\n| new \x1b[31m row |"


@pytest.fixture
def of(record):
    """of("weights", {"pgd-7/bptt": 4}, suite="spike", ...): a record of a network with these weights."""

    def make(weights: str, attacks: Any = None, **fields: Any):
        one = record(fields.pop("name", f"net of {weights}"), fields.pop("clean", 90), attacks=attacks or {}, **fields)
        return replace(one, provenance=replace(one.provenance, weights=weights))

    return make


# --- lines ----------------------------------------------------------------------------------------------------------


def test_a_line_per_weights_and_threat(of):
    other = {"kind": "linf", "eps": 4 / 255, "low": 0.0, "high": 1.0}
    records = [
        of("a", {"pgd-7/bptt": 40}), of("a", {"apgd/bptt": 20}, suite="standard"), of("a", {"sa-pgd/assg": 10}, suite="spike"),
        of("a", {"pgd-7/bptt": 60}, threat=other), of("b", {"pgd-7/bptt": 30}, name="net of a"),
        of("", {"pgd-7/bptt": 25}, name="x"), of("", {"pgd-7/bptt": 24}, name="y"),
    ]  # fmt: skip
    board = lines(records)
    assert [(line.any.name, len(line.records)) for line in board] == [
        ("net of a", 1), ("net of a", 1), ("x", 1), ("y", 1), ("net of a", 3)
    ]  # fmt: skip
    assert [line.strongest.point for line in board] == [0.6, 0.3, 0.25, 0.24, 0.1]
    assert [board[-1].worst(suite).point for suite in ("paper", "standard", "spike")] == [0.4, 0.2, 0.1]
    assert board[0].worst("standard") is None
    assert lines(records[::-1]) == lines(records)


def test_the_larger_record_of_a_suite_wins_and_the_largest_speaks_for_the_model(of):
    small, large = of("a", {"fgsm/bptt": 5}, total=100, clean=100), of("a", {"fgsm/bptt": 8}, total=200, clean=150)
    spike = of("a", {"sa-pgd/assg": 0}, total=50, clean=50, suite="spike")
    for order in ([spike, small, large], [large, small, spike]):
        [line] = lines(order)
        assert line.records["paper"] is large
        assert line.any is large
        assert (line.to_json()["clean_acc"], line.to_json()["images"]) == (75, 200)


def test_validation_images_count_only_where_there_are_no_others(of):
    tested = of("a", {"fgsm/bptt": 5}, total=100, clean=90)
    chosen = of("a", {"fgsm/bptt": 80}, total=1000, clean=900)
    data = "cifar10: 10 train, 10 validation, 10 test images; judged: 1000 validation images"
    chosen = replace(chosen, provenance=replace(chosen.provenance, data=data))
    strong = replace(chosen, suite="spike")
    assert lines([chosen, strong])[0].any.suite in ("paper", "spike")
    for order in ([tested, chosen, strong], [strong, chosen, tested]):
        [line] = lines(order)
        assert line.records == {"paper": tested}


def test_what_is_right_under_noise_alone_is_no_evidence_and_comes_last(of, loose):
    noise = of("a", [loose("gaussian", 89, 100)], suite="noise")
    control = of("b", [], suite="checks")
    quick = of("c", {"fgsm/bptt": 2}, suite="quick")
    board = lines([noise, control, quick])
    assert [line.any.provenance.weights for line in board] == ["c", "a", "b"]
    assert [line.strongest for line in board[1:]] == [None, None]
    assert board[0].strongest.point == 0.02
    assert board[1].to_json()["worst"] is None
    cells = [line.split("|")[5:9] for line in markdown(board).splitlines()[3:]]
    assert all(cell.strip() == "–" for row in cells for cell in row)


def test_the_columns_come_before_the_other_suites(of):
    [line] = lines([of("a", {"fgsm/bptt": 2}, suite="quick"), of("a", {"pgd-7/bptt": 3})])
    assert line.strongest.point == 0.03


def test_suspicions_of_all_records_each_once(of, suspicion):
    records = [
        of("a", suspicions=(suspicion("one"), suspicion("two"), suspicion("one"))),
        of("a", suite="spike", suspicions=(suspicion("three"), suspicion("two"))),
        of("b"),
    ]
    suspected, clear = sorted(lines(records), key=lambda line: line.any.name)
    assert suspected.suspicions == ("one", "two", "three")
    assert suspected.to_json()["unreliable"] is True
    assert suspected.to_json()["suspicions"] == ["one", "two", "three"]
    assert clear.suspicions == ()
    assert clear.to_json()["unreliable"] is False
    assert markdown([suspected]).splitlines()[2].endswith("| one, two, three |")
    assert markdown([clear]).splitlines()[2].endswith("| none |")


# --- RobustBench ----------------------------------------------------------------------------------------------------


def test_the_fields_of_robustbench_and_ours(of, attack):
    recipe = {"data": {"name": "cifar10"}, "network": {"name": "vgg11", "steps": 8}, "defense": {"kind": "tgo"}}
    paper = [attack("pgd-7/bptt", 41, 100, forwards=70, backwards=7), attack("pgd-7/rate", 30, 100, forwards=30, backwards=3)]
    paper_record, standard, spike = of("a", paper), of("a", {"apgd": 25}, suite="standard"), of("a", {"x": 20}, suite="spike")
    paper_record = replace(paper_record, provenance=replace(paper_record.provenance, recipe=recipe))
    [line] = lines([paper_record, standard, spike])
    found = line.to_json()
    wanted = {
        "name": "net of a", "dataset": "cifar10", "architecture": "vgg11", "eps": 8 / 255, "norm": "linf", "clean_acc": 90,
        "reported": 41, "autoattack_acc": 25, "spike_acc": 20, "unreliable": False, "time_steps": 8, "images": 100,
        "weights": "a", "commit": "abc1234", "data": "digits", "defense": {"kind": "tgo"},
        "forwards": {"paper": 100, "standard": 0, "spike": 0}, "backwards": {"paper": 10, "standard": 0, "spike": 0},
    }  # fmt: skip
    assert {name: found[name] for name in wanted} == wanted
    interval = Interval.of(20, 100)
    assert found["worst"] == [20, round(100 * interval.low, 2), round(100 * interval.high, 2)]
    assert {"venue", "link"} <= found.keys()


def test_what_was_not_run_is_null_and_nothing_is_nan(of, record, tmp_path: Path):
    empty = record("empty", 0, 0, {"pgd-7/bptt": 0})
    board = lines([of("a", suite="quick"), empty])
    write(board, tmp_path)
    text = (tmp_path / "leaderboard.json").read_text()

    def refuse(name: str) -> float:
        raise AssertionError(f"{name} in JSON")

    found = json.loads(text, parse_constant=refuse)
    assert [entry["name"] for entry in found] == ["net of a", "empty"]
    for entry in found:
        assert entry["autoattack_acc"] is entry["spike_acc"] is entry["reported"] is entry["worst"] is None
    assert found[1]["clean_acc"] is None
    assert "nan" not in markdown(board).lower()


def test_an_ann_reports_its_pgd_too(of):
    assert lines([of("a", {"pgd-7": 33})])[0].to_json()["reported"] == 33


# --- pages ----------------------------------------------------------------------------------------------------------


class Cells(HTMLParser):
    """The text of every cell, row by row, and the scripts of the page."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.scripts, self.inside = list[list[str]](), 0, False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        if tag == "tr":
            self.rows.append([])
        self.inside = tag in ("td", "th", "button")
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data


def parsed(path: Path) -> Cells:
    cells = Cells()
    cells.feed(path.read_text())
    return cells


def test_the_three_files_say_the_same(of, suspicion, tmp_path: Path):
    board = lines([
        of("a", {"pgd-7/bptt": 41, "pgd-40/bptt": 30}), of("a", {"x": 20}, suite="spike", suspicions=(suspicion("odd"),)),
        of("b", {"x": 10}, suite="standard"),
    ])  # fmt: skip
    out = tmp_path / "new" / "board"
    assert write(board, out) == [out / f"leaderboard.{kind}" for kind in ("md", "json", "html")]
    head, *body = [line.strip("|").split("|") for line in (out / "leaderboard.md").read_text().splitlines()]
    page = parsed(out / "leaderboard.html")
    headings = ["model", "threat", "clean", "PGD-7", "paper", "standard", "spike", "suspicions"]
    assert [cell.strip() for cell in head] == ["", *headings]
    assert page.rows[0] == headings
    assert [[cell.strip() for cell in row[1:]] for row in body[1:]] == page.rows[1:]
    numbers = [cell.partition(" ")[0] for cell in page.rows[1]]
    assert numbers == ["net", "L∞", "90.0", "41.0", "30.0", "–", "20.0", "odd"]
    assert [row[0].strip() for row in body[1:]] == ["1", "2"]
    assert [entry["name"] for entry in json.loads((out / "leaderboard.json").read_text())] == ["net of a", "net of b"]
    values = re.findall(r'data-value="([^"]*)"', (out / "leaderboard.html").read_text())
    assert [float(value) for value in values[:6]] == [0.9, 0.41, 0.3, -1, 0.2, 1]  # what the columns are sorted by


def test_names_from_users_break_neither_table_nor_page(of, suspicion, tmp_path: Path):
    board = lines([of("a", {"pgd-7/bptt": 4}, name=NASTY, suspicions=(suspicion(NASTY),))])
    write(board, tmp_path)
    text = (tmp_path / "leaderboard.md").read_text()
    assert len(text.splitlines()) == 3
    row = text.splitlines()[2]
    assert len(re.findall(r"(?<!\\)\|", row)) == len(re.findall(r"\|", text.splitlines()[0]))
    assert not re.search(r"(?<!\\)[<`\[]", row)
    assert "\x1b" not in row
    page = parsed(tmp_path / "leaderboard.html")
    assert page.scripts == 1  # the page's own
    assert len(page.rows) == 2
    assert "<script>alert(1)</script>" in page.rows[1][0]  # as text
    assert json.loads((tmp_path / "leaderboard.json").read_text())[0]["name"] == NASTY


def test_an_empty_board(tmp_path: Path):
    assert lines([]) == []
    write([], tmp_path)
    assert json.loads((tmp_path / "leaderboard.json").read_text()) == []
    assert len(parsed(tmp_path / "leaderboard.html").rows) == 1


# --- where records come from ----------------------------------------------------------------------------------------


def test_records_are_found_in_folders_among_other_files(of, tmp_path: Path):
    one, two, three = (of(weights, {"fgsm/bptt": 3}) for weights in "abc")
    one.save(tmp_path / "runs" / "x" / "evaluation.json")
    two.save(tmp_path / "runs" / "y" / "evaluation-spike.json")
    three.save(tmp_path / "single.json")
    (tmp_path / "runs" / "x" / "recipe.json").write_text('{"name": "x", "attacks": []}')
    (tmp_path / "runs" / "x" / "list.json").write_text("[1, 2]")
    (tmp_path / "runs" / "x" / "metrics.jsonl").write_text('{"schema": 1}')
    found = gathered([tmp_path / "runs", tmp_path / "single.json"])
    assert found == [one, two, three]
    write(lines(found), tmp_path / "runs")
    assert gathered([tmp_path / "runs"]) == [one, two]  # what was written is none


def test_where_there_is_none(tmp_path: Path):
    with pytest.raises(RequestError, match=r"no record in .*make one with: snnguard evaluate RUN"):
        gathered([tmp_path])
    with pytest.raises(RequestError, match=r"no file .*gone\.json"):
        gathered([tmp_path / "gone.json"])


def test_a_line_knows_what_it_has(of):
    line = Line(records={"paper": of("a", {"pgd-7/bptt": 4})})
    assert line.worst("paper") == Interval.of(4, 100)
    assert line.worst("spike") is None
