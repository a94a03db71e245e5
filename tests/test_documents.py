"""The documents do what they say: the quickstart runs, the tables are those of the records, links lead somewhere."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer.main

from snnguard import recipes
from snnguard.choice import discover
from snnguard.cli.main import app
from snnguard.record import Record

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
MADE = ("docs/deviations.md", "docs/reference/")
"""Pages that only the site has; tests/test_site.py follows the links to them."""


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language, also those within a tab, without the indent."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", page.read_text(), re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


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


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", page.read_text())
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert [link for link in missing if not name_of((page.parent / link).resolve()).startswith(MADE)] == []


@pytest.mark.parametrize("page", [p for p in PAGES if p.is_relative_to(ROOT / "docs") and blocks(p, "python")], ids=name_of)
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after another, as a reader would; a block that wants a library which is not there is only read."""
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {"__name__": "page"}
    for text in blocks(page, "python"):
        if text.startswith("--8<--"):
            assert (ROOT / text.split('"')[1]).exists()
            continue
        roots = {node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom) and node.module}
        if all(find_spec(root.partition(".")[0]) for root in roots):
            exec(compile(text, name_of(page), "exec"), scope)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "toml")], ids=name_of)
def test_a_recipe_on_a_page_is_a_recipe(page: Path) -> None:
    for text in blocks(page, "toml"):
        assert recipes.Recipe.parse(tomllib.loads(text)).name


def commands() -> dict[str, set[str]]:
    """The options of every command."""
    discover("snnguard.cli")
    known: dict[str, Any] = typer.main.get_command(app).commands
    return {name: {o for p in known[name].params for o in (*p.opts, *p.secondary_opts)} for name in known}


@pytest.mark.parametrize("page", [p for p in PAGES if "snnguard " in p.read_text()], ids=name_of)
def test_commands_on_a_page_exist(page: Path) -> None:
    """Every `snnguard ...` line of a block names a command with these options, and recipes that are built in."""
    known = commands()
    for line in "\n".join(blocks(page, "")).split("\n"):
        words = line.partition("#")[0].replace("'", "").split()
        if words[:1] != ["snnguard"]:
            continue
        assert words[1] in known, line
        asked = {word.partition("=")[0] for word in words[2:] if word.startswith("-")}
        assert asked <= known[words[1]], line
        if words[1] == "train" and not words[2].endswith(".toml"):
            assert words[2] in recipes.names(), line


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
