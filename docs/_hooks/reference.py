"""A page of reference per room, made from docstrings by mkdocstrings, and a list of the rooms."""

import ast
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOMS = (
    "errors", "choice", "threat", "record", "neurons", "layers", "encoders", "networks", "data", "attacks", "defenses",
    "evaluation", "analysis", "findings", "training", "recipes", "reproduce", "report", "comparison", "paired", "bench",
)  # fmt: skip


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Adds reference/ROOM.md and reference/index.md."""
    source = Path(config.config_file_path).parent / "src" / "snnguard"
    lines = []
    for room in ROOMS:
        page = f"# snnguard.{room}\n\n::: snnguard.{room}\n"
        files.append(File.generated(config, f"reference/{room}.md", content=page))
        lines.append(f"| [`snnguard.{room}`]({room}.md) | {first_line(source, room)} |")
    head = (
        "# Reference\n\nMade from the docstrings at each build. A room's page has the names that it offers, and no others: "
        "`from snnguard.ROOM import NAME`. Which room may import which stands under [contributing](../contributing.md).\n\n"
        "The [command line](command.md) has a page of its own.\n\n| room | what it is |\n|---|---|\n"
    )
    files.append(File.generated(config, "reference/index.md", content=head + "\n".join(lines) + "\n"))


def first_line(source: Path, room: str) -> str:
    """What a room's docstring says first."""
    path = source / room / "__init__.py" if (source / room).is_dir() else source / f"{room}.py"
    told = ast.get_docstring(ast.parse(path.read_text())) or ""
    return told.partition("\n")[0]
