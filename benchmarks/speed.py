"""Training steps, input gradients and memory of VGG11 and WRN16-4, beside the floor and beside other libraries; and how the
time grows with the number of time steps and with the batch.

Contestants take turns, ratios are medians over the rounds (`snnguard.bench`). Writes speed.json, speed.md and growth.svg to
benchmarks/. Run: make bench (which sets up an environment with the other libraries). A quarter of an hour on two cores.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot

from snnguard import bench
from snnguard.bench import Case, Row
from snnguard.evaluation import gather

HERE = Path(__file__).resolve().parent
NETWORKS = ("vgg11", "wrn16")
PEERS = ("floor", "snnguard", "spikingjelly")


def cases(tiny: bool) -> tuple[list[Case], list[Case]]:
    """The cases that everybody takes part in, and those of growth."""
    if tiny:
        return [Case(work=work, network="vgg5-slim", steps=2, batch=4) for work in ("training step", "input gradient")], []
    full = [Case(work=work, network=network) for network in NETWORKS for work in ("training step", "input gradient")]
    steps = [Case(network="vgg11", steps=steps, batch=16) for steps in (1, 2, 4, 8, 16)]
    batches = [Case(network="vgg11", steps=4, batch=batch) for batch in (8, 64)]
    return full, [*steps, *batches]


def plot(rows: list[Row], path: Path) -> None:
    """Milliseconds per training step against time steps and against the batch."""
    mpl.rcParams["svg.hashsalt"] = "snnguard"
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.5), sharey=True)
    for axis, along, fixed, label in (
        (axes[0], "steps", ("batch", 16), "time steps T (batch 16)"),
        (axes[1], "batch", ("steps", 4), "images per batch (T = 4)"),
    ):
        for name in dict.fromkeys(row.contestant for row in rows):
            points = {
                getattr(row.case, along): 1000 * row.seconds
                for row in rows
                if row.contestant == name and getattr(row.case, fixed[0]) == fixed[1]
            }
            axis.plot(sorted(points), [points[x] for x in sorted(points)], marker="o", label=name)
        axis.set_xlabel(label)
        axis.set_ylim(bottom=0)
    axes[0].set_ylabel("ms per training step, VGG11")
    axes[0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="a small network, to see that it runs")
    parser.add_argument("--out", type=Path, default=HERE)
    given = parser.parse_args()
    full, growing = cases(given.tiny)
    rows = [row for case in full for row in said(bench.measure(case, rounds=given.rounds))]
    among = [one for one in bench.contestants() if one.name in PEERS]
    half = [] if given.tiny else [Case(work=work, precision="bfloat16") for work in ("training step", "input gradient")]
    rows += [row for case in half for row in said(bench.measure(case, rounds=given.rounds, among=among))]
    grown = [row for case in growing for row in said(bench.measure(case, rounds=given.rounds, among=among))]
    weighed = [full[0]] if given.tiny else [Case(steps=8, batch=64), Case(steps=1, batch=16), Case(steps=16, batch=16)]
    memory = {str(case): bench.measure_memory(case, among=PEERS) for case in weighed}
    where = gather(seed=0)
    versions = where.versions | bench.library_versions()
    kept = {
        "rows": [asdict(row) for row in rows],
        "growth": [asdict(row) for row in grown],
        "memory": memory,
        "hardware": where.hardware,
        "versions": versions,
        "created": where.created,
        "command": where.command,
    }
    (given.out / "speed.json").write_text(json.dumps(kept, indent=1) + "\n")
    (given.out / "speed.md").write_text(f"# Speed, {where.created[:10]}\n\n{bench.tables(kept)}\n")
    if grown:
        plot(grown, given.out / "growth.svg")


def said(rows: list[Row]) -> list[Row]:
    """Shows what was just measured."""
    print(bench.markdown(rows), flush=True)
    return rows


if __name__ == "__main__":
    main()
