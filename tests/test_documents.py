"""The documents do what they say: the quickstart runs, the tables are those of the records, links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from snnguard.record import Record

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def test_the_quickstart_of_the_readme_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 1
    seen: dict[str, object] = {}
    exec(compile(blocks[0], "README.md", "exec"), seen)
    record = seen["record"]
    assert 0 <= record.worst.point <= record.accuracy.point <= 1
    assert len(record.clean) == 64


def test_every_table_is_what_the_records_say() -> None:
    said = subprocess.run(
        [sys.executable, ROOT / "results" / "make_tables.py", "--check"], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr


def tables() -> dict[str, Any]:
    """The names in results/make_tables.py, which is a script and no module."""
    path = ROOT / "results" / "make_tables.py"
    scope: dict[str, Any] = {"__name__": "tables", "__file__": str(path)}
    exec(compile(path.read_text(), path.name, "exec"), scope)
    return scope


def test_the_grid_has_a_line_per_defense_alone_and_after_adversarial_training() -> None:
    records = [Record.load(path) for path in sorted((ROOT / "results/digits").glob("*.json"))]
    head, rule, *lines = tables()["grid"](records).partition("\n\n")[0].split("\n")
    assert head.count("|") == rule.count("|") == lines[0].count("|") == 8
    assert [line.split(" | ")[0] for line in lines] == ["| mpd-sgr", "| tgo", "| undefended"]  # most robust alone first
    assert lines[0].split(" | ")[4].startswith("98.8")  # after adversarial training
    assert lines[1].endswith("|  |  |  |")


def test_the_check_of_the_tables_can_fail() -> None:
    scope = tables()
    text = (ROOT / "README.md").read_text()
    pattern = r"(<!-- table: \S+ -->\n\n)\|"
    tampered = re.sub(pattern, r"\1| tampered |", text, count=1)
    assert tampered != text
    assert scope["filled"](tampered) == text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", page.read_text())
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


def test_contributing_shows_code_that_works(tmp_path: Path) -> None:
    """The example defense, saved as a module, is found by name and used by a step of training."""
    block = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)[0]
    script = tmp_path / "example.py"
    script.write_text(
        block.replace("from .defense", "from snnguard.defenses.defense")
        + "\nimport torch\n"
        + "logits = torch.full((2, 3), 2.0)\n"
        + "made = Defense.parse({'kind': 'small-logits', 'strength': 0.5})\n"
        + "assert made.penalty(None, None, logits, None).item() == 2.0\n"
    )
    said = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
