"""snnguard certify."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from snnguard import recipes

from .main import app, console


@app.command()
def certify(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, trained with smoothing or rsc.")],
    images: Annotated[int, typer.Option(min=1, help="How many test images.")] = 100,
    n: Annotated[int, typer.Option("--n", min=1, help="Votes per image.")] = 1000,
    n0: Annotated[int, typer.Option("--n0", min=1, help="Votes that choose the class to certify.")] = 100,
    alpha: Annotated[float, typer.Option(help="Probability with which a certificate may be wrong.")] = 0.001,
    radii: Annotated[str | None, typer.Option(help="L2 radii in raw units, e.g. 0.25,0.5; default 0 to 2 sigma.")] = None,
    attack: Annotated[bool, typer.Option(help="Also attack the smoothed classifier at each radius.")] = True,
    steps: Annotated[int, typer.Option(min=1, help="Steps of these attacks.")] = 50,
    draws: Annotated[int, typer.Option(min=1, help="Draws that their gradients are averaged over.")] = 10,
    batch_size: Annotated[int, typer.Option(min=1)] = 256,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    data_path: Annotated[str | None, typer.Option(help="Where the images lie now, if they were moved.")] = None,
) -> None:
    """Certify networks that smooth with Gaussian noise, and attack what is certified. Writes RUN/certificate.json."""
    if not 0 < alpha < 1:
        raise typer.BadParameter(f"--alpha is a probability between 0 and 1, found {alpha}")
    asked = None if radii is None else _lengths(radii)
    broken = 0
    for folder in runs:
        run = recipes.open_run(folder, data_path=data_path)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(run.recipe.name, total=None)

            def shown(what: str, done: int, total: int, *, name: str = run.recipe.name) -> None:
                progress.update(task, description=f"{name}  {what}", completed=done, total=total)  # noqa: B023

            found = recipes.certify(
                run, images=images, n=n, n0=n0, alpha=alpha, radii=asked, attack=attack, steps=steps, draws=draws,
                seed=seed, batch_size=batch_size, report=shown,
            )  # fmt: skip
        console.print(table(found))
        for image, radius, name in found.contradictions:
            console.print(f"CONTRADICTION: image {image} is certified at {radius:.4g}, and {name} broke it there")
        broken += len(found.contradictions)
    if broken:
        console.print(f"Each certificate may be wrong with probability {alpha:g}; more than that is a fault of this program.")
        raise typer.Exit(1)


def table(found: recipes.Certified) -> Table:
    """Per radius, what is certified and what each attack leaves standing, in percent of the images."""
    total = len(found.labels)
    title = f"{found.name}: sigma {found.sigma:.4g}, {total} images, {found.n} votes, alpha {found.alpha:g}"
    shown = Table(title=title, caption="certified <= truth <= what an attack leaves standing")
    for heading in ("L2 radius", "certified %", *(f"stands {name} %" for name in found.empirical)):
        shown.add_column(heading, justify="right")
    for i, radius in enumerate(found.radii):
        counts = (found.certified[i], *(rows[i] for rows in found.empirical.values()))
        shown.add_row(f"{radius:.4g}", *(f"{100 * count / total:.1f}" for count in counts))
    return shown


def _lengths(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"--radii are numbers with commas between them, e.g. 0.25,0.5; found {text!r}") from None
