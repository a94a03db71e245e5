"""snnguard demo."""

import json
from pathlib import Path
from typing import Annotated

import typer

from snnguard import recipes, report
from snnguard.record import write_atomic

from .evaluate import judge_shown
from .main import app, console
from .train import train_shown

SHOWN = ("digits-undefended", "digits-mpd-sgr", "digits-tgo", "digits-at-mpd-sgr")


@app.command()
def demo(out: Annotated[Path, typer.Option(help="Where runs, results and report go.")] = Path("runs/demo")) -> None:
    """Train four networks on digits, attack them with the paper suite, and write a page that shows what happened."""
    records = []
    for name in SHOWN:
        recipe = recipes.get(name)
        outcome = train_shown(recipe, out / name)
        console.print(f"{name}: trained, {100 * outcome.lines[-1]['validation_accuracy']:.1f} % right on validation")
        records.append(judge_shown(recipes.open_run(out / name)))
    results = {"command": "snnguard demo", "records": [record.to_json() for record in records]}
    write_atomic(out / "results.json", json.dumps(results, indent=1).encode())
    report.write(records, out / "report.html", title="SNNGuard demo: four networks on 8x8 digits")
    console.print(report.console(records))
    console.print(report.sentences(records))
    if text := report.warning(records):
        console.print(text)
    console.print(f"Written: {out / 'report.html'} (open it in a browser), {out / 'results.json'}")
