"""snnguard sweep."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from snnguard import report
from snnguard.errors import RequestError
from snnguard.recipes import sweep as sweeps
from snnguard.record import Record, write_atomic
from snnguard.report import heatmap

from .main import app, console


@app.command()
def sweep(
    given: Annotated[list[str], typer.Argument(
        metavar="RECIPE... [field=value,value...]",
        help="Built-in recipes, patterns ('digits-*') or TOML files; then settings. Several values are swept.",
    )],
    out: Annotated[Path, typer.Option(help="Where records and run folders go.")] = Path("runs/sweep"),
    suite: Annotated[str, typer.Option(help="Which attacks: paper, standard, spike, ...")] = "paper",
    images: Annotated[int | None, typer.Option(min=1, help="How many images are judged; default all.")] = None,
    split: Annotated[str, typer.Option(help="test, or validation to choose hyper-parameters.")] = "test",
    draws: Annotated[int | None, typer.Option(min=1, help="Gradient draws for random networks; default 10.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Networks at a time; each gets its share of the cores.")] = 2,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be trained and judged.")] = False,
) -> None:  # fmt: skip
    """Train and judge many recipes, or one under many settings, and put them into one table. Goes on where it stopped."""
    if split not in ("test", "validation"):
        raise typer.BadParameter(f"--split is test or validation, found {split!r}")
    sources = [text for text in given if "=" not in text]
    if not sources:
        raise RequestError("which recipes? give at least one name, pattern or TOML file before the settings")
    cells = sweeps.cells(sources, [text for text in given if "=" in text])
    if dry_run:
        for cell in cells:
            console.print(cell.recipe.name, highlight=False, markup=False)
        known = sum(sweeps.record_of(cell.recipe, out).exists() for cell in cells)
        console.print(f"{len(cells)} networks, {known} with a record in {out}")
        return
    judging = sweeps.Judging(suite=suite, images=images, split=split, seed=seed, draws=draws)
    records, failed = _shown(cells, out, judging, jobs)
    for name, error in failed.items():
        console.print(f"{name}: {error}", style="red", markup=False)
    if not records:
        raise typer.Exit(1)
    console.print(report.console(records))
    write_atomic(out / "table.md", (report.markdown(records) + "\n").encode())
    _draw_maps([cell for cell in cells if cell.recipe.name not in failed], records, out)
    console.print(f"Records and table: {out}")
    if failed:
        raise typer.Exit(1)


def _draw_maps(cells: list[sweeps.Cell], records: list[Record], out: Path) -> None:
    """Heat maps, where one recipe was swept over one to three fields."""
    axes = [field for field, _ in cells[0].values]
    if 1 <= len(axes) <= 3 and len({cell.recipe.name.partition(" ")[0] for cell in cells}) == 1:
        places = [[value for _, value in cell.values] for cell in cells]
        heatmap.write(heatmap.heatmaps(records, axes=axes, places=places), out / "heatmap.html")
        console.print(f"Heat maps: {out / 'heatmap.html'}")


def _shown(
    cells: list[sweeps.Cell], out: Path, judging: sweeps.Judging, jobs: int
) -> tuple[list[Record], dict[str, str]]:  # fmt: skip
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("sweep", total=len(cells))

        def done(name: str, what: str, count: int, total: int) -> None:
            progress.update(task, description=f"{name}: {what[:40]}", completed=count, total=total)

        try:
            return sweeps.run(cells, out=out, judging=judging, jobs=jobs, report=done)
        except KeyboardInterrupt:
            console.print("Stopped; run the same command to go on.")
            raise typer.Exit(130) from None
