"""PGD-7 end to end over many images: ours, against torchattacks' PGD on the SpikingJelly twin of the same weights.

Both start at the image itself, so that start and order are fixed, and both are judged on what they return. Ours runs as
`evaluate` runs it: only on images that are right clean, an image leaves the batch once it is lost, and another one of the next
batches takes its place. torchattacks attacks every image for all its steps. Verdicts are compared image by image, also for
ours without leaving early, and crafted in bfloat16 (judged in float32). Then what refilling is worth, for PGD-7 and a longer
attack, and whether it changes a verdict.
Writes benchmarks/attack_speed.json. Run, in the environment of `make bench`:
    python benchmarks/attack_speed.py RUN --data-path FOLDER
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch
import torchattacks
from torch import Tensor, nn

from snnguard import bench, pages, recipes
from snnguard.attacks import APGD, Attack, bim, predict
from snnguard.data import load
from snnguard.evaluation import gather
from snnguard.evaluation.evaluate import REFILL
from snnguard.threat import Threat

STEP = 0.01


class Half(nn.Module):
    """A network in bfloat16, to craft on."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            logits: Tensor = self.model(x)
        return logits.float()


def ours(
    model: nn.Module, x: Tensor, y: Tensor, threat: Threat, attack: Attack, batch: int, *, crafting: nn.Module | None = None,
    together: int = REFILL,
) -> Tensor:  # fmt: skip
    """Which images stand, by our attack on so many batches at once, crafted on another model if one is given."""
    standing = predict(model, x, batch_size=batch).argmax(1) == y
    with pages.kept():  # as `evaluate`
        for index in standing.nonzero().flatten().split(batch * together):
            x_adv = attack(crafting or model, x[index], y[index], threat=threat, seed=0, batch_size=batch)
            standing[index] = predict(model, x_adv, batch_size=batch).argmax(1) == y[index]
    return standing


def theirs(model: nn.Module, x: Tensor, y: Tensor, threat: Threat, batch: int) -> Tensor:
    """Which images stand, by torchattacks' PGD."""
    attack = torchattacks.PGD(model, eps=threat.eps, alpha=STEP, steps=7, random_start=False)
    standing = predict(model, x, batch_size=batch).argmax(1) == y
    for index in torch.arange(len(x)).split(batch):
        standing[index] &= predict(model, attack(x[index], y[index]), batch_size=batch).argmax(1) == y[index]
    return standing


def refilled(model: nn.Module, x: Tensor, y: Tensor, threat: Threat, rounds: int) -> list[dict[str, Any]]:
    """The time batch by batch in units of that of batches that are refilled, and how many verdicts differ."""
    rows = []
    attacks = {"bim-7": bim(steps=7, step_size=STEP, early_stop=True), "apgd-ce, 50 steps": APGD(steps=50, early_stop=True)}
    for name, attack in attacks.items():
        for batch in (32, 64, 128):
            found: dict[int, Tensor] = {}

            def run(together: int, attack: Attack = attack, batch: int = batch, found: dict[int, Tensor] = found) -> None:
                found[together] = ours(model, x, y, threat, attack, batch, together=together)

            seconds = bench.alternate({"refilled": lambda: run(REFILL), "alone": lambda: run(1)}, rounds=rounds, warm_up=0)
            rows.append({
                "attack": name, "batch": batch, "ratio": bench.ratio(seconds["alone"], seconds["refilled"]),
                "standing": int(found[REFILL].sum()), "other verdicts": int((found[1] != found[REFILL]).sum()),
            })  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data-path")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    run = recipes.open_run(given.run, data_path=given.data_path)
    dataset = load(run.recipe.data)
    model, weights = run.model(dataset)
    model.eval()
    twins = {one.name: one.make(model, model.steps).eval() for one in bench.contestants() if one.needs == "spikingjelly"}
    x, y = dataset.test.pixels(slice(0, given.images)), dataset.test.labels[: given.images]
    threat, found = run.recipe.threat, dict[str, Tensor]()

    def keep(name: str, standing: Tensor) -> None:
        found[name] = standing

    early, whole = (bim(steps=7, step_size=STEP, early_stop=early) for early in (True, False))
    actions: dict[str, Any] = {
        "snnguard": lambda: keep("snnguard", ours(model, x, y, threat, early, given.batch)),
        "snnguard, all steps": lambda: keep("snnguard, all steps", ours(model, x, y, threat, whole, given.batch)),
    }
    for name, twin in twins.items():
        title = f"torchattacks on {name}"
        actions[title] = lambda title=title, twin=twin: keep(title, theirs(twin, x, y, threat, given.batch))
    seconds = bench.alternate(actions, rounds=given.rounds, warm_up=0)
    half = ours(model, x, y, threat, early, given.batch, crafting=Half(model))
    reference = found["torchattacks on spikingjelly"]
    rows = {
        name: {
            "seconds": statistics.median(values),
            "times snnguard": bench.ratio(values, seconds["snnguard"]),
            "standing": int(found[name].sum()),
            "other verdicts than torchattacks": int((found[name] != reference).sum()),
            "of these lost here alone": int((reference & ~found[name]).sum()),
        }
        for name, values in seconds.items()
    }
    for name, row in rows.items():
        print(name, row)
    where = gather(seed=0)
    kept = {
        "network": run.recipe.name, "weights": weights, "images": len(x), "batch": given.batch, "rounds": given.rounds,
        "data": dataset.describe(), "clean": int((predict(model, x).argmax(1) == y).sum()), "rows": rows,
        "standing when crafted in bfloat16": int(half.sum()),
        "other verdicts when crafted in bfloat16": int((half != found["snnguard"]).sum()),
        "refilled": refilled(model, x, y, threat, given.rounds), "batches at once": REFILL,
        "hardware": where.hardware, "versions": where.versions | bench.library_versions(), "created": where.created,
        "command": where.command,
    }  # fmt: skip
    given.out.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
