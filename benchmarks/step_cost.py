"""What a training step costs with each defense, as a ratio to the plain step, and the fused kernel against its reference.

Steps of all kinds take turns, so that a noisy machine disturbs all alike; the figure is the median of the per-round ratios.
Writes benchmarks/step_cost.json. Run: make bench
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from snnguard import rng
from snnguard.data import fake
from snnguard.defenses import MPDSGR, REG, AdversarialTraining, Defense, Stack, rat, tgo_mc, tgo_nlif
from snnguard.evaluation import gather
from snnguard.networks import Network, construct
from snnguard.neurons import Triangle, Watch, fused, unroll
from snnguard.training import SGD, Training
from snnguard.training.fit import Loop

DEFENSES: dict[str, Defense] = {
    "plain": Stack(),
    "mpd-sgr": MPDSGR(eta=0.05),
    "tgo-mc": tgo_mc(),
    "tgo-nlif": tgo_nlif(),
    "reg": REG(),
    "at": AdversarialTraining(),
    "rat": rat(),
}


def steps(network: str, batch: int, rounds: int) -> dict[str, dict[str, float]]:
    """Median step time in seconds, and median ratio to the plain step of the same round."""
    data = fake(train=batch * 4, validation=8, test=8)
    loops = {}
    for name, defense in DEFENSES.items():
        model = construct(
            defense.design(Network(name=network, steps=4)),
            classes=10,
            image_shape=data.image_shape,
            mean=data.mean,
            std=data.std,
        )
        training = Training(epochs=1000, batch_size=batch, optimiser=SGD(learning_rate=0.01))
        loops[name] = Loop(model, data.train, data.validation, defense, training, None, 0, None, {})
    times: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(rounds + 2):
        for name, loop in loops.items():
            began = time.perf_counter()
            loop.step()
            if number >= 2:
                times[name].append(time.perf_counter() - began)
    return {
        name: {
            "seconds": statistics.median(values),
            "ratio": statistics.median(v / p for v, p in zip(values, times["plain"], strict=True)),
        }
        for name, values in times.items()
    }


def kernels(rounds: int) -> dict[str, dict[str, float]]:
    """Forward and backward of one large layer: the reference loop over the fused kernel, with and without moments."""
    with rng.scope(0):
        current = (
            torch.randn(4, 64, 32, 32, 32).flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (4, 64))
        )
    current.requires_grad_()
    kinds = {
        "reference": (unroll, None),
        "fused": (fused, None),
        "reference + moments": (unroll, Watch(moments=True)),
        "fused + moments": (fused, Watch(moments=True)),
        "fused + band": (fused, Watch(bands=(0.5,))),
    }
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(rounds + 1):
        for name, (backend, watch) in kinds.items():
            began = time.perf_counter()
            spikes, seen = backend(
                current, steps=4, decay=1.0, threshold=1.0, reset="zero", detach_reset=False, surrogate=Triangle(), watch=watch
            )
            loss = spikes.sum()
            if seen is not None:
                loss = loss + (seen.hinge.sum() if seen.var is None else seen.mean.sum() + seen.var.sum())
            torch.autograd.grad(loss, current)
            if number:
                times[name].append(time.perf_counter() - began)
    return {
        name: {
            "seconds": statistics.median(values),
            "ratio": statistics.median(v / p for v, p in zip(values, times["fused"], strict=True)),
        }
        for name, values in times.items()
    }


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="vgg5-slim")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=11)
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
