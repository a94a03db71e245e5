"""Harden a small spiking network on 8x8 digits, and print a number that can be defended.

python examples/train_and_judge.py [SUITE]

SUITE is `paper` by default, the papers' protocol, which takes seconds here. Report `spike` instead: minutes.
"""

import sys
from pathlib import Path

import snnguard as sg


def main(suite: str) -> None:
    recipe = sg.recipes.read("digits-at-mpd-sgr", ["training.epochs=4", "data.train_size=800"])
    run = sg.train(recipe, out=Path("runs") / "example")  # goes on where it was stopped; run.folder holds everything
    record = sg.recipes.judge(run, suite_name=suite, images=100, exhibits=False)

    print(f"{record.name} under `{record.suite}`, Linf {255 * record.threat['eps']:.0f}/255, {len(record.clean)} test images")
    print(f"  clean       {percent(record.accuracy)}")
    for result in record.attacks:
        bounded = "" if record.counts_for_worst(result) else "   not bounded by the threat"
        print(f"  {result.name:<11} {percent(result.accuracy)}{bounded}")
    print(f"  worst case  {percent(record.worst)}   <- the number: right clean and under every attack within the threat")
    for suspicion in record.suspicions:
        print(f"  suspicious: {suspicion.code}: {suspicion.message}")
    print(f"  nothing found by {len(record.passed)} checks; the record is {run.folder / 'evaluation.json'}")


def percent(share: sg.record.Interval) -> str:
    return f"{100 * share.point:5.1f} % (95 % interval {100 * share.low:.1f} to {100 * share.high:.1f})"


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "paper")
