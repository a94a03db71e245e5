"""snnguard report."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from snnguard.record import Record


class Loads(HTMLParser):
    """What a browser would fetch from elsewhere when it opens the page; links to click are not fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.tags, self.remote = 0, list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags += 1
        for name, value in attrs:
            fetched = name in ("src", "srcset", "data", "poster") or (name == "href" and tag == "link")
            if fetched and not (value or "").startswith(("data:", "#")):
                self.remote.append(f"{tag} {name}={value}")


@pytest.fixture
def judged(snnguard: Any, run: Path) -> Path:
    assert snnguard("evaluate", run, "--suite", "quick", "--images", 6).code == 0
    return run


def test_a_page_that_loads_nothing_from_elsewhere(snnguard: Any, judged: Path, tmp_path: Path) -> None:
    page = tmp_path / "pages" / "report.html"
    said = snnguard("report", judged, judged / "evaluation-quick.json", "--out", page, "--title", "A <title>")
    assert said.code == 0
    assert str(page.name) in said.out.replace("\n", "")
    text = page.read_text()
    assert "A &lt;title&gt;" in text
    assert "digits-mpd-sgr" in text
    loads = Loads()
    loads.feed(text)
    assert loads.tags > 20
    assert loads.remote == []
    styles = "".join(re.findall(r"<style.*?</style>", text, re.DOTALL))
    assert not re.findall(r"""(?:@import|url\()\s*["']?(?:https?:)?//""", styles)


def test_files_for_papers(snnguard: Any, judged: Path, tmp_path: Path) -> None:
    said = snnguard("report", judged, "--out", tmp_path / "r.html", "--export", tmp_path / "paper")
    assert said.code == 0
    found = {path.name for path in (tmp_path / "paper").iterdir()}
    assert {"table.tex", "accuracy.svg", "accuracy.png", "radius-linf.png", "membranes.svg"} <= found
    assert all(name in said.out.replace("\n", "") for name in found)
    assert r"\toprule" in (tmp_path / "paper" / "table.tex").read_text()


def test_markdown(snnguard: Any, judged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = snnguard("report", judged, "--markdown")
    assert said.code == 0
    assert said.out.startswith("|")
    assert "digits-mpd-sgr" in said.out
    assert not Path("report.html").exists()


def test_a_file_of_several_records(snnguard: Any, judged: Path, tmp_path: Path) -> None:
    record = json.loads((judged / "evaluation-quick.json").read_text())
    several = tmp_path / "results.json"
    several.write_text(json.dumps({"records": [record, record | {"name": "another"}]}))
    said = snnguard("report", several, "--markdown")
    assert said.code == 0
    assert "| another" in said.out
    assert "| digits-mpd-sgr" in said.out


def test_not_judged_yet(snnguard: Any, run: Path) -> None:
    said = snnguard("report", run)
    assert said.code == 2
    assert "has not been judged yet; run: snnguard evaluate" in said.err


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"schema": 99}', '{"schema": 1}', "\x00"])
def test_a_file_that_is_no_record(content: str, snnguard: Any, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(content)
    said = snnguard("report", tmp_path / "r.json", "--out", tmp_path / "page.html")
    assert said.code == 2
    assert said.err.startswith("snnguard: ")
    assert not (tmp_path / "page.html").exists()


def test_of_a_run_the_papers_record_is_shown_and_otherwise_that_of_the_strongest_suite(snnguard: Any, judged: Path) -> None:
    record = Record.load(judged / "evaluation-quick.json")
    replace(record, name="strong").save(judged / "evaluation-spike.json")
    replace(record, name="the card").save(judged / "evaluation-checks.json")
    assert "strong" in snnguard("report", judged, "--markdown").out
    replace(record, name="of the paper").save(judged / "evaluation.json")
    assert "of the paper" in snnguard("report", judged, "--markdown").out


def test_a_run_with_a_card_alone_asks_for_a_file(snnguard: Any, judged: Path) -> None:
    (judged / "evaluation-quick.json").rename(judged / "evaluation-checks.json")
    said = snnguard("report", judged)
    assert said.code == 2
    assert "name one of its records: evaluation-checks.json" in said.err
