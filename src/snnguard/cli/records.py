"""snnguard merge, compare, leaderboard, verify: what is done with records."""

from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.table import Table
from rich.text import Text

from snnguard import recipes, report
from snnguard.data import load
from snnguard.errors import RequestError
from snnguard.evaluation import Shard, merged, paired
from snnguard.evaluation.verify import verify as put_to_the_test
from snnguard.record import Record
from snnguard.report import leaderboard as boards

from .main import app, console


@app.command()
def merge(
    parts: Annotated[list[Path], typer.Argument(metavar="RECORD...", help="The records of all shards.")],
    out: Annotated[Path, typer.Option(help="Where the whole record goes.")],
) -> None:
    """Put the records of `evaluate --shard i/n` together."""
    record = merged([Record.load(path) for path in parts])
    record.save(out)
    console.print(report.console([record]))
    console.print(f"Record: {out}")


@app.command()
def compare(
    one: Annotated[Path, typer.Argument(metavar="RECORD")],
    other: Annotated[Path, typer.Argument(metavar="RECORD")],
) -> None:
    """Compare two networks that were judged on the same images, image by image (McNemar's exact test)."""
    first, second = Record.load(one), Record.load(other)
    shared = [a.name for a in first.attacks if a.name in {b.name for b in second.attacks}]
    table = Table(title=Text(f"{second.name} against {first.name}: {len(first.clean)} images"))
    for heading in ("", "only the first stands", "only the second stands", "difference", "p"):
        table.add_column(heading, justify="right" if heading else "left")
    for label, attack in [("clean", "clean"), *((name, name) for name in shared), ("worst case", None)]:
        found = paired(first, second, attack=attack)
        points = f"{100 * found.difference:+.1f}"
        table.add_row(Text(label), str(found.only_one), str(found.only_other), points, f"{found.p:.2g}")
    console.print(table)


@app.command()
def leaderboard(
    sources: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Folders with records, or records.")],
    out: Annotated[Path, typer.Option(help="Where leaderboard.md, .json and .html go.")] = Path("runs/leaderboard"),
) -> None:
    """All records as one sortable table, with what each suite left and what is suspicious."""
    board = boards.lines(boards.gathered(sources))
    written = boards.write(board, out)
    console.print(boards.markdown(board), markup=False)
    console.print(f"Written: {', '.join(map(str, written))}")


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(metavar="RECORD", help="The record that was submitted.")],
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The run folder with its weights.")],
    images: Annotated[int, typer.Option(min=1, help="How many images of the record are judged again.")] = 50,
    sample_seed: Annotated[int, typer.Option(min=0, help="Which ones; choose your own.")] = 0,
    data_path: Annotated[str | None, typer.Option(help="Where the images lie now, if they were moved.")] = None,
) -> None:
    """Run a record's attacks again on a random sample of its images. Exits with 1 if it claims more than is found."""
    record, run = Record.load(path), recipes.open_run(folder, data_path=data_path)
    dataset = load(run.recipe.data)
    model, weights = run.model(dataset)
    if weights != record.provenance.weights:
        raise RequestError(f"{path} is about weights {record.provenance.weights[:12]}, {folder} has {weights[:12]}")
    data = record.provenance.data.rpartition("; judged: ")[0]
    if data != dataset.describe():
        raise RequestError(f"{path} is about other images: {record.provenance.data}; found {dataset.describe()}")
    part = dataset.validation if record.provenance.split == "validation" else dataset.test
    shard = Shard(**record.notes.get("shard", {"index": 0, "of": 1}))
    rows = torch.arange(shard.index, len(part), shard.of)[: len(record.clean)]
    found = put_to_the_test(record, model, part.pixels(rows), part.labels[rows], images=images, sample_seed=sample_seed)
    console.print(
        f"{found.images} images judged again: {found.differ} of {found.compared} verdicts differ, "
        f"{found.fell} images fall that stand in the record. {'It holds.' if found.holds else 'It does not hold.'}"
    )
    if not found.holds:
        raise typer.Exit(1)
