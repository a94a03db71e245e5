"""snnguard analyse."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from snnguard import recipes, report
from snnguard.analysis import ANALYSES, Subject
from snnguard.analysis import analyse as analysed
from snnguard.data import load
from snnguard.evaluation import gather
from snnguard.findings import Findings
from snnguard.recipes.judge import shareable
from snnguard.record import write_atomic
from snnguard.training import resolve_device

from .main import app, console


@app.command()
def analyse(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    what: Annotated[
        list[str] | None, typer.Option(help=f"Which analyses, once for each: {', '.join(ANALYSES)}; default all.")
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="How many test images.")] = 64,
    draws: Annotated[int | None, typer.Option(min=1, help="Gradient draws for a random network; default 10.")] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 128,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    data_path: Annotated[str | None, typer.Option(help="Where the images lie now, if they were moved.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for analysis.json and analysis.html; default RUN.")] = None,
) -> None:
    """Look inside a trained network: membranes, firing patterns, gradients, sweeps, energy. Writes numbers and a page."""
    run = recipes.open_run(folder, data_path=data_path)
    recipe, dataset = run.recipe, load(run.recipe.data)
    device = resolve_device(recipe.training.device)
    model, weights = run.model(dataset)
    x, y = dataset.test.pixels(slice(0, images), device), dataset.test.labels[:images].to(device)
    subject = Subject(
        model=model.to(device), x=x, y=y, threat=recipe.threat, labels=dataset.labels, seed=seed, batch_size=batch_size,
        draws=draws or (10 if model.stochastic else 1),
    )  # fmt: skip
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(recipe.name, total=None)

        def shown(name: str, done: int, total: int) -> None:
            progress.update(task, description=f"{recipe.name}  {name}", completed=done, total=total)

        found = analysed(subject, name=recipe.name, what=what or (), report=shown)
    source = gather(
        seed=seed, recipe=shareable(recipe), weights=weights, data=f"{dataset.describe()}; analysed: {len(x)} test images"
    )  # fmt: skip
    found = replace(found, provenance=source)
    target = out or folder
    write_atomic(target / "analysis.json", json.dumps(found.to_json(), indent=1).encode())
    report.write_analysis(found, target / "analysis.html")
    console.print(summary(found))
    console.print(f"Written: {target / 'analysis.json'}, {target / 'analysis.html'}")


def summary(found: Findings) -> Table:
    """What each analysis came to, line by line."""
    table = Table(title=Text(f"{found.name}: {found.images} images"), show_lines=True)
    table.add_column("analysis")
    table.add_column("what it came to")
    for name, lines in report.facts(found).items():
        table.add_row(name, Text("\n".join(lines)))
    return table
