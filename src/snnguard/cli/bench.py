"""snnguard bench."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from snnguard import bench as benches
from snnguard.errors import RequestError
from snnguard.evaluation import gather
from snnguard.record import write_atomic
from snnguard.training import resolve_device

from .main import app, console


@app.command()
def bench(
    network: Annotated[str, typer.Option(help="A network of `snnguard list networks`.")] = "vgg11",
    steps: Annotated[int, typer.Option("--steps", "-T", min=1, help="Time steps.")] = 4,
    batch: Annotated[int, typer.Option(min=1, help="Images of 3x32x32.")] = 32,
    precision: Annotated[str, typer.Option(help=", ".join(get_args(benches.Precision)))] = "float32",
    work: Annotated[str, typer.Option(help=f"{', '.join(get_args(benches.Work))}, or all.")] = "all",
    rounds: Annotated[int, typer.Option(min=1, help="How often the contestants take turns.")] = 5,
    memory: Annotated[bool, typer.Option(help="Also measure the peak memory, one process per contestant.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    out: Annotated[Path | None, typer.Option(help="Also write the figures to this JSON file.")] = None,
) -> None:
    """Time training steps and input gradients on this machine, beside the floor and the libraries that are installed."""
    asked = get_args(benches.Work) if work == "all" else (work,)
    for what, given, allowed in (("precision", precision, benches.Precision), ("work", asked[0], benches.Work)):
        if given not in get_args(allowed):
            raise RequestError(f"{what} is one of {', '.join(get_args(allowed))}; found {given!r}")
    cases = [
        benches.Case(
            work=cast(benches.Work, each), network=network, steps=steps, batch=batch,
            precision=cast(benches.Precision, precision),
        )
        for each in asked
    ]  # fmt: skip
    on = resolve_device(device).type
    rows = []
    for case in cases:
        with console.status(str(case)):
            rows += benches.measure(case, rounds=rounds, device=on)
    typer.echo(benches.markdown(rows))  # before the memory is measured, so that nothing is lost where that cannot be done
    typer.echo(
        "\nMilliseconds, medians; in brackets the time in units of the floor's, the same network with ReLU, in the same round."
    )
    peaks = {str(case): benches.measure_memory(case, device=on) for case in cases} if memory else {}
    for title, held in peaks.items():
        typer.echo(f"\nPeak memory in MiB, {title}: " + ", ".join(f"{name} {peak / 2**20:.0f}" for name, peak in held.items()))
    missing = [one.needs for one in benches.CONTESTANTS if not one.installed and one.needs]
    if missing:
        typer.echo(f"\nNot installed here, and so not measured: {', '.join(dict.fromkeys(missing))}.")
    if out is not None:
        where = gather(seed=0)
        found_here = {"rows": [asdict(row) for row in rows], "memory": peaks, "hardware": where.hardware}
        found_here |= {"versions": where.versions, "created": where.created, "command": where.command}
        write_atomic(out, (json.dumps(found_here, indent=1) + "\n").encode())
