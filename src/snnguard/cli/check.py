"""snnguard check."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from snnguard import recipes
from snnguard.evaluation.checks import CHECKS
from snnguard.record import Record, Suspicion

from .evaluate import judge_shown
from .main import app, console


@app.command()
def check(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
    images: Annotated[int, typer.Option(min=1, help="How many test images.")] = 256,
    draws: Annotated[int | None, typer.Option(min=1, help="Gradient draws for a random network; default 10.")] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 128,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    data_path: Annotated[str | None, typer.Option(help="Where the images lie now, if they were moved.")] = None,
) -> None:
    """Look for signs that a network only seems robust. Prints a card; exits with 1 if anything is suspicious."""
    suspicious = 0
    for folder in runs:
        run = recipes.open_run(folder, data_path=data_path)
        record = judge_shown(run, suite="checks", images=images, draws=draws, batch_size=batch_size, seed=seed, exhibits=False)
        console.print(card(record))
        suspicious += len(record.suspicions)
    if suspicious:
        console.print("What each suspicion means: docs/suspicions.md")
        raise typer.Exit(1)


def card(record: Record) -> Table:
    """Every check with what was measured, its limit and the verdict; a check without evidence says so."""
    found: dict[str, list[Suspicion]] = {code: [] for code in CHECKS}
    for suspicion in (*record.suspicions, *record.passed):
        found[suspicion.code].append(suspicion)
    shown = Table(title=Text(f"{record.name}: {len(record.clean)} images, {record.provenance.hardware}"))
    for heading, justify in (("check", "left"), ("measured", "right"), ("limit", "right"), ("verdict", "left"), ("", "left")):
        shown.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for code, outcomes in found.items():
        if not outcomes:
            shown.add_row(code, "", "", Text("not measured", style="dim"), "")
        for s in outcomes:
            verdict = Text("suspicious", style="bold red") if s.raised else Text("passed", style="green")
            shown.add_row(code, f"{s.measured:.3g}", f"{s.limit:.3g}", verdict, Text(s.message if s.raised else ""))
    return shown
