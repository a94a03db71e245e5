"""snnguard evaluate."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from snnguard import recipes, report
from snnguard.evaluation import Progress, Shard
from snnguard.evaluation.suites import SUITES
from snnguard.record import Record

from .main import app, console


@app.command()
def evaluate(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
    suite: Annotated[str, typer.Option(help=f"Which attacks: {', '.join(SUITES)}.")] = "paper",
    images: Annotated[int | None, typer.Option(min=1, help="How many images; default all.")] = None,
    split: Annotated[str, typer.Option(help="test, or validation to choose hyper-parameters.")] = "test",
    draws: Annotated[int | None, typer.Option(min=1, help="Gradient draws for a random network; default 10.")] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 128,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Where the record goes; default RUN/evaluation.json, or RUN/evaluation-SUITE.json.")
    ] = None,
    data_path: Annotated[str | None, typer.Option(help="Where the images lie now, if they were moved.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Of a cascade, every attack on every image.")] = False,
    exhibits: Annotated[bool, typer.Option(help="Also the curve over radii and the pictures.")] = True,
    shard: Annotated[str | None, typer.Option(help="i/n: only every n-th image, from i; see snnguard merge.")] = None,
) -> None:
    """Attack trained networks and say what withstands. An interrupted evaluation goes on where it stopped."""
    if split not in ("test", "validation"):
        raise typer.BadParameter(f"--split is test or validation, found {split!r}")
    if out is not None and len(runs) > 1:
        raise typer.BadParameter("--out names one record; give one run")
    part = None if shard is None else Shard.parse(shard)
    records = []
    for folder in runs:
        run = recipes.open_run(folder, data_path=data_path)
        records.append(judge_shown(run, suite=suite, images=images, split=split, draws=draws, batch_size=batch_size,
                                   seed=seed, out=out, shard=part, full=full, exhibits=exhibits))  # fmt: skip
    console.print(report.console(records))
    console.print(report.sentences(records))
    if text := report.warning(records):
        console.print(text)


def judge_shown(
    run: recipes.Run, *, suite: str = "paper", images: int | None = None, split: str = "test", draws: int | None = None,
    batch_size: int = 128, seed: int = 0, out: Path | None = None, shard: Shard | None = None, exhibits: bool = True,
    full: bool = False,
) -> Record:  # fmt: skip
    """Judges with a progress bar; after Ctrl-C says how to go on, and exits with 130."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(run.recipe.name, total=None)

        def shown(now: Progress) -> None:
            said = f"{run.recipe.name}  {now.attack}  worst case so far {100 * now.worst.point:.1f} %"
            bar.update(task, description=said, completed=now.done, total=now.total)

        try:
            return recipes.judge(
                run, suite_name=suite, images=images, split=split, seed=seed, draws=draws, batch_size=batch_size, out=out,
                report=shown, shard=shard, exhibits=exhibits, full=full,
            )  # fmt: skip
        except KeyboardInterrupt:
            console.print("Stopped; run the same command to go on.")
            raise typer.Exit(130) from None
