"""snnguard report."""

from pathlib import Path
from typing import Annotated

import typer

from snnguard import report as pages
from snnguard.comparison import Comparison
from snnguard.errors import RequestError
from snnguard.record import Record, read_json

from .main import app, console

PREFERRED = ("", "-spike", "-spike-full", "-standard", "-quick")
"""Which record of a run folder is shown: the papers' suite, then the suites of `evaluate` by strength."""


@app.command()
def report(
    sources: Annotated[
        list[Path], typer.Argument(metavar="RUN|RECORD...", help="Run folders, record files, or demo's results.json.")
    ],
    out: Annotated[Path, typer.Option(help="The page.")] = Path("report.html"),
    title: Annotated[str, typer.Option()] = "SNNGuard report",
    comparison: Annotated[
        Path | None, typer.Option(help="Published numbers beside ours: a comparison.json of `snnguard reproduce`.")
    ] = None,
    export: Annotated[Path | None, typer.Option(help="A folder for papers: table.tex, figures as .svg and .png.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown and write no page.")] = False,
) -> None:
    """One self-contained HTML page from records: table, pictures, curves, membranes, training. Needs no model, no GPU."""
    records = [record for source in sources for record in read(source)]
    if markdown:
        print(pages.markdown(records))
        return
    beside = None if comparison is None else Comparison.from_json(read_json(comparison))
    pages.write(records, out, title=title, comparison=beside)
    console.print(pages.console(records))
    written = [out]
    if export is not None:
        from snnguard.report import print as paper  # matplotlib is slow to import, and needed by nobody else

        written += paper.export(records, export)
    console.print(f"Written: {', '.join(map(str, written))}")


def read(source: Path) -> list[Record]:
    """The record of a run folder or a file, or the records of a file of several (demo's `results.json`).

    Of a folder, `evaluation.json`, or where there is none that of another suite, by `PREFERRED`. Raises `RequestError`.
    """
    path = _preferred(source) if source.is_dir() else source
    data = read_json(path)
    if isinstance(data, dict) and "records" in data:
        return [Record.from_json(entry) for entry in data["records"]]
    return [Record.load(path)]


def _preferred(run: Path) -> Path:
    names = [f"evaluation{suffix}.json" for suffix in PREFERRED]
    for name in names:
        if (run / name).exists():
            return run / name
    others = ", ".join(path.name for path in sorted(run.glob("evaluation-*.json")))
    if others:
        raise RequestError(f"{run} has no {' or '.join(names)}; name one of its records: {others}")
    raise RequestError(f"{run} has not been judged yet; run: snnguard evaluate {run}")
