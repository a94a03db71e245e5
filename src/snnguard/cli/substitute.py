"""snnguard substitute."""

from pathlib import Path
from typing import Annotated

import typer

from snnguard import recipes

from .main import app, console
from .train import train_shown


@app.command()
def substitute(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The run folder of the network to be attacked.")],
    kinds: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KIND...]", help="twin (same network, no defense), ann (with ReLU), or an architecture."),
    ] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Changes, e.g. --set training.epochs=3")] = None,
    data_path: Annotated[str | None, typer.Option(help="Where the images lie now, if they were moved.")] = None,
) -> None:
    """Train networks to craft images on that are then transferred; `evaluate` and `check` use what is there."""
    run = recipes.open_run(folder, data_path=data_path)
    for kind in kinds or ["twin", "ann"]:
        recipe, out = recipes.substitute(run, kind)
        recipe = recipes.Recipe.parse(recipes.overridden(recipe.to_json(), overrides or []))
        last = train_shown(recipe, out).lines[-1]
        console.print(f"[bold]{kind}[/]: validation accuracy {100 * last['validation_accuracy']:.1f} %, in {out}")
