"""The page of deviations: every `DEVIATION:` in the source, with the `SOURCE:` beside it. Nothing is kept by hand."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

TAG = re.compile(r"\b(SOURCE|DEVIATION)\b:?\s*")


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """Where it stands, what it is about, whom it follows otherwise, and what is different and why."""

    path: str
    line: int
    subject: str
    source: str
    text: str


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Adds deviations.md."""
    source = Path(config.config_file_path).parent / "src"
    files.append(File.generated(config, "deviations.md", content=page(source)))


def page(source: Path) -> str:
    """A table per room."""
    found, sources = [], 0
    for path in sorted(source.rglob("*.py")):
        text = path.read_text()
        sources += text.count("SOURCE:")
        found += [Deviation(path=str(path.relative_to(source)), **entry) for entry in deviations(text)]
    parts = [
        "# Deviations\n",
        "Where the code leaves the paper that it follows, or the published code, it says so beside the equation. These are all "
        f"{len(found)} such places, made from the source at each build; {sources} places say `SOURCE:` and name whom they "
        "follow. What is wrong in the papers themselves stands under [errata](errata.md).\n",
    ]
    for room, entries in groupby(found, key=lambda entry: entry.path.split("/")[1]):
        parts.append(f"## {room.removesuffix('.py')}\n\n| where | follows | what differs, and why |\n|---|---|---|")
        parts += [row(entry) for entry in entries]
        parts.append("")
    return "\n".join(parts)


def row(entry: Deviation) -> str:
    file = entry.path.rpartition("/")[2]
    return f"| `{entry.subject}`<br>{file}:{entry.line} | {prose(entry.source)} | {prose(entry.text)} |"


def deviations(text: str) -> Iterator[dict[str, str | int]]:
    """What the tags of a file say: each runs to the next tag, or to the end of its paragraph."""
    lines, tree = text.splitlines(), ast.parse(text)
    for first, last in paragraphs(lines):
        if not any("DEVIATION" in line for line in lines[first:last]):
            continue
        source, place = "", 0
        joined = "\n".join(re.sub(r"^\s*# ?", "", line).replace('"""', "") for line in lines[first:last])
        for match, following in zip(tags := list(TAG.finditer(joined)), [*tags[1:], None], strict=True):
            said = " ".join(joined[match.end() : following.start() if following else None].split())
            place = first + joined[: match.start()].count("\n") + 1
            if match[1] == "SOURCE":
                source = said
            else:
                yield {"line": place, "subject": subject(tree, place), "source": source, "text": said}


def paragraphs(lines: list[str]) -> Iterator[tuple[int, int]]:
    """First and last-plus-one line of every run of lines that are not blank; comments, docstrings and code apart."""
    first = 0
    for number, line in enumerate([*lines, ""]):
        told, before = line.strip(), lines[number - 1].strip() if number else ""
        closed = before.endswith('"""') and (number - 1 != first or before.count('"""') == 2)
        if not told or closed or told.startswith("#") != before.startswith("#"):
            if first < number:
                yield first, number
            first = number if told else number + 1


def subject(tree: ast.Module, line: int) -> str:
    """The innermost class or function around a line, by its dotted name; a class above a comment is not around it."""
    name, body = "", tree.body
    while True:
        inner = [
            node for node in body
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.lineno <= line <= (node.end_lineno or 0)
        ]  # fmt: skip
        if not inner:
            return name or "module"
        name, body = f"{name}.{inner[0].name}".lstrip("."), inner[0].body


def prose(text: str) -> str:
    """Text for a cell of a table: no pipes, and asterisks, underscores and brackets stand for themselves outside code."""
    parts = text.split("`")
    plain = (re.sub(r"([*_\[\]|])", r"\\\1", part).replace("<", "&lt;") for part in parts[::2])
    return "`".join(next(plain) if i % 2 == 0 else part for i, part in enumerate(parts))
