"""snnguard report."""

from pathlib import Path
from typing import Annotated

import typer

from snnguard import report as pages
from snnguard.errors import RequestError
from snnguard.record import Record, read_json

from .main import app, console


@app.command()
def report(
    sources: Annotated[
        list[Path], typer.Argument(metavar="RUN|RECORD...", help="Run folders, record files, or demo's results.json.")
    ],
    out: Annotated[Path, typer.Option(help="The page.")] = Path("report.html"),
    title: Annotated[str, typer.Option()] = "SNNGuard report",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown and write no page.")] = False,
) -> None:
    """One self-contained HTML page from records: table, pictures, curves, membranes, training. Needs no model, no GPU."""
    records = [record for source in sources for record in read(source)]
    if markdown:
        print(pages.markdown(records))
        return
    pages.write(records, out, title=title)
    console.print(pages.console(records))
    console.print(f"Written: {out}")


def read(source: Path) -> list[Record]:
    """The record of a run folder or a file, or the records of a file of several (demo's `results.json`).

    Of a folder, `evaluation.json`, or where there is none the newest record of another suite. Raises `RequestError`.
    """
    path = _newest(source) if source.is_dir() else source
    data = read_json(path)
    if isinstance(data, dict) and "records" in data:
        return [Record.from_json(entry) for entry in data["records"]]
    return [Record.load(path)]


def _newest(run: Path) -> Path:
    if (path := run / "evaluation.json").exists():
        return path
    found = sorted(run.glob("evaluation-*.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise RequestError(f"{run} has not been judged yet; run: snnguard evaluate {run}")
    return found[-1]
