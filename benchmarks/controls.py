"""Negative controls: the same weights with one fault after another that hides or spoils the gradient, judged by `spike` at its
full length. Each fault must be named by a suspicion, and `spike` must not be fooled by it.

Run: snnguard train digits-at --out runs/digits-at && python benchmarks/controls.py runs/digits-at [FAULT...]
Writes benchmarks/controls.json; with names of faults, their rows alone.
"""

import copy
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from snnguard import recipes
from snnguard.data import load
from snnguard.evaluation import evaluate, suite, tune
from snnguard.evaluation.provenance import hardware
from snnguard.neurons import MembraneNoise, Triangle, neurons_of
from snnguard.record import Record

IMAGES, HELD_OUT = 200, 64


class Quantised(nn.Module):
    """The image in 64 grey levels, without a gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * 63).round() / 63


class BlindInEval(nn.Module):
    """The same levels, with a straight-through gradient in training mode alone."""

    def forward(self, x: Tensor) -> Tensor:
        levels = (x * 63).round() / 63
        return x + (levels - x).detach() if self.training else levels


class Straight(nn.Module):
    """The same levels, with the gradient passed straight through, always: what the two above should be."""

    def forward(self, x: Tensor) -> Tensor:
        return x + ((x * 63).round() / 63 - x).detach()


class Leaking(nn.Module):
    """A layer that adds to each batch a little of the last one: membranes that nobody reset."""

    def __init__(self) -> None:
        super().__init__()
        self.v: Tensor | float = 0.0

    def forward(self, x: Tensor) -> Tensor:
        carried = self.v if isinstance(self.v, float) or len(self.v) == len(x) else self.v[:1]
        self.v = 0.1 * x.detach()
        return x + carried


def narrow(model: nn.Module) -> nn.Module:
    """A surrogate gradient that is zero nearly everywhere."""
    for neuron in neurons_of(model).values():
        neuron.settings = neuron.settings.model_copy(update={"surrogate": Triangle(gamma=0.01)})
    return model


FAULTS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "gradient-stops": lambda model: nn.Sequential(Quantised(), model),
    "narrow-window": narrow,
    "blind-in-eval": lambda model: nn.Sequential(BlindInEval(), model),
    "state-leaks": lambda model: nn.Sequential(Leaking(), model),
}
"""Faults by the suspicion that names them."""


def random(model: nn.Module) -> nn.Module:
    """Noise in every membrane, also in eval mode: what one draw says of it is luck."""
    for neuron in neurons_of(model).values():
        trait = MembraneNoise(sigma=0.3, inference=True)
        neuron.settings = neuron.settings.having(trait)
        neuron.mechanisms.append(trait.build(steps=neuron.steps))
    return model


JUDGED_WRONGLY: dict[str, Callable[[nn.Module], nn.Module]] = {"one-draw": random}
"""Networks without a fault, judged in a way that hides what they do: here by one draw of a random network."""

DRAWN = {"ten draws": random}
"""The same judged as `snnguard evaluate` does."""

SOUND: dict[str, Callable[[nn.Module], nn.Module]] = {
    "sane": lambda model: model,
    "sane, in grey levels": lambda model: nn.Sequential(Straight(), model),
}


def twin(fault: str) -> str:
    """What the fault is compared with: the same forward pass, with a gradient."""
    if fault in JUDGED_WRONGLY:
        return "ten draws"
    return "sane, in grey levels" if fault in ("gradient-stops", "blind-in-eval") else "sane"


def main(folder: Path, chosen: Sequence[str]) -> None:
    """Judges the run in `folder` with every fault, or with those that are `chosen`."""
    run = recipes.open_run(folder)
    dataset = load(run.recipe.data)
    model, weights = run.model(dataset)
    x, y = dataset.test.pixels(slice(0, IMAGES)), dataset.test.labels[:IMAGES]
    held = dataset.validation.pixels(slice(0, HELD_OUT)), dataset.validation.labels[:HELD_OUT]
    faults, threat = FAULTS | JUDGED_WRONGLY, run.recipe.threat
    chosen = chosen or list(faults)
    if unknown := set(chosen) - set(faults):
        raise SystemExit(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(faults)}")
    found, pgd = dict[str, Record](), dict[str, int]()
    for name, spoilt in (SOUND | DRAWN | faults).items():
        if name not in chosen and name not in map(twin, chosen):
            continue
        draws = 10 if name in DRAWN else 1
        # A copy each: what one call leaves behind must not be there in the next.
        attacker, _ = tune(spoilt(copy.deepcopy(model)).eval(), *held, threat=threat, draws=draws)
        judged = spoilt(copy.deepcopy(model)).eval()
        found[name] = evaluate(judged, x, y, suite=suite("spike", attacker=attacker), threat=threat, name=name)
        quick = evaluate(spoilt(copy.deepcopy(model)).eval(), x, y, suite=suite("quick", draws=draws), threat=threat)
        pgd[name] = quick.find("pgd-10/bptt").correct.hits
        print(f"{name}: clean {found[name].clean.hits}, PGD-10 {pgd[name]}, spike {found[name].worst_flags.hits} of {IMAGES}; "
              f"{sorted({s.code for s in found[name].suspicions})}", flush=True)  # fmt: skip
    rows = [
        {"fault": name, "clean": found[name].clean.hits, "pgd-10": pgd[name], "spike": found[name].worst_flags.hits,
         "sane": found[twin(name)].worst_flags.hits, "named": name in {s.code for s in found[name].suspicions},
         "weights": weights}
        for name in chosen
    ]  # fmt: skip
    path = Path(__file__).with_name("controls.json")
    before = json.loads(path.read_text())["faults"] if path.exists() else []
    rows = [row for row in before if row["fault"] not in chosen] + rows
    kept = {"network": str(run.recipe.name), "images": IMAGES, "seed": 0, "hardware": hardware(), "faults": rows}
    path.write_text(json.dumps(kept, indent=1) + "\n")
    fooled = [row["fault"] for row in rows if not row["named"] or row["spike"] > row["sane"] + 0.01 * IMAGES]
    if fooled:
        raise SystemExit(f"not named, or more than one point above the sane network: {', '.join(fooled)}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), sys.argv[2:])
