"""What a training step costs with the seeds' defenses, as a ratio to the plain step, and the kernels beside their reference.

All kinds take turns, so that a noisy machine disturbs all alike; the figure is the median of the ratios to the plain step (the
compiled kernel) of the same round. Writes benchmarks/step_cost.json. Run: make bench
"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import torch

from defense_cost import loop
from snnguard import pages, rng
from snnguard.bench import alternate
from snnguard.bench.measure import ratio
from snnguard.defenses import MPDSGR, REG, TGO, AdversarialTraining, Defense, Stack, rat, tgo_mc, tgo_nlif
from snnguard.evaluation import gather
from snnguard.neurons import Triangle, Watch, fused, native, unroll

DEFENSES: dict[str, Defense] = {
    "plain": Stack(),
    "mpd-sgr": MPDSGR(eta=0.05),
    "tgo": TGO(),
    "tgo-mc": tgo_mc(),
    "tgo-nlif": tgo_nlif(),
    "reg": REG(),
    "at": AdversarialTraining(),
    "rat": rat(),
}


def steps(network: str, batch: int, rounds: int) -> dict[str, dict[str, float]]:
    """Seconds of a training step with each defense."""
    actions = {name: loop(defense, network, batch).step for name, defense in DEFENSES.items()}
    with pages.kept():  # as in `fit`
        return compared(alternate(actions, rounds=rounds, warm_up=2), "plain")


def kernels(rounds: int) -> dict[str, dict[str, float]]:
    """Forward and backward of one large layer [4, 64, 32, 32, 32], channels last."""
    with rng.scope(0):
        current = torch.randn(4 * 64, 32, 32, 32).contiguous(memory_format=torch.channels_last).unflatten(0, (4, 64))
    current.requires_grad_()
    kinds = {
        "reference": (unroll, None),
        "PyTorch": (fused, None),
        "compiled": (native, None),
        "reference + moments": (unroll, Watch(moments=True)),
        "PyTorch + moments": (fused, Watch(moments=True)),
        "compiled + moments": (native, Watch(moments=True)),
        "compiled + band": (native, Watch(bands=(0.5,))),
    }
    actions = {name: acting(backend, watch, current) for name, (backend, watch) in kinds.items()}
    actions["ReLU"] = lambda: torch.autograd.grad(torch.relu(current).sum(), current)
    return compared(alternate(actions, rounds=rounds), "compiled")


def acting(backend: Callable, watch: Watch | None, current: torch.Tensor) -> Callable[[], object]:
    """Spikes and the gradient of everything that was asked for."""

    def act() -> object:
        spikes, seen = backend(
            current, steps=4, decay=1.0, threshold=1.0, reset="zero", detach_reset=False, surrogate=Triangle(), watch=watch
        )
        loss = spikes.sum()
        if seen is not None:
            loss = loss + (seen.hinge.sum() if seen.var is None else seen.mean.sum() + seen.var.sum())
        return torch.autograd.grad(loss, current)

    return act


def compared(seconds: dict[str, list[float]], to: str) -> dict[str, dict[str, float]]:
    """Medians, in seconds and as ratios to one of them."""
    return {
        name: {"seconds": statistics.median(values), "ratio": ratio(values, seconds[to])} for name, values in seconds.items()
    }


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="vgg11")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    result = {
        "what": f"{given.network}, T=4, batch {given.batch}, 3x32x32, median of {given.rounds} rounds",
        "steps": steps(given.network, given.batch, given.rounds),
        "kernels": kernels(given.rounds),
    }
    for part in ("steps", "kernels"):
        for name, row in result[part].items():
            print(f"{part:8} {name:22} {1000 * row['seconds']:9.1f} ms   {row['ratio']:.2f}")
    where = gather(seed=0)
    result |= {"hardware": where.hardware, "versions": where.versions, "created": where.created, "command": where.command}
    given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
