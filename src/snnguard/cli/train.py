"""snnguard train."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from snnguard import recipes
from snnguard.training import Outcome, Stopped

from .main import app, console


@app.command()
def train(
    source: Annotated[str, typer.Argument(metavar="RECIPE", help="A built-in recipe (snnguard list recipes) or a TOML file.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Changes, e.g. training.epochs=3 defense.eta=1")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder. Default: runs/RECIPE.")] = None,
) -> None:
    """Train a network with its defense. The same command goes on where an interrupted one stopped."""
    recipe = recipes.read(source, overrides or [])
    folder = out or Path("runs") / recipe.name
    last = train_shown(recipe, folder).lines[-1]
    console.print(
        f"[bold]{recipe.name}[/]: validation accuracy {100 * last['validation_accuracy']:.1f} %, in {folder}. "
        f"Next: snnguard evaluate {folder}"
    )


def train_shown(recipe: recipes.Recipe, folder: Path) -> Outcome:
    """Trains with a progress bar; after Ctrl-C says how to go on, and exits with 130."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(recipe.name, total=None)

        def report(step: int, steps: int, line: dict[str, Any]) -> None:
            shown = f"{recipe.name}  loss {line['loss']:.3f}  accuracy {line['train_accuracy']:.2f}"
            progress.update(task, completed=step, total=steps, description=shown)

        try:
            run = recipes.train(recipe, out=folder, report=report)
        except Stopped as stopped:
            console.print(f"Stopped after step {stopped.outcome.steps}; run the same command to go on.")
            raise typer.Exit(130) from None
    assert run.outcome is not None
    return run.outcome
