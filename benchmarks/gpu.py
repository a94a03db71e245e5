"""Everything that wants a GPU, in one call of at most `--minutes`: the Triton kernels against the reference, their speed beside
the floor and SpikingJelly's (which takes its Triton kernels on CUDA by itself), and VGG11, T = 4, trained on CIFAR-10 for as
many epochs as the time allows, judged by `paper`.

Each part is written to OUT as soon as it is done. Run: python benchmarks/gpu.py --data FOLDER_OF_PARQUET --out OUT
On a CPU, to see that it works: TRITON_INTERPRET=1 python benchmarks/gpu.py --tiny --out OUT
"""

import argparse
import importlib
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from snnguard import bench, recipes, rng
from snnguard.bench import Case
from snnguard.data import load
from snnguard.evaluation import gather
from snnguard.layers import TDBN, OverTime, fire
from snnguard.neurons import LIF, Surrogate, Watch, native, packed_spikes, unroll
from snnguard.training.fit import Loop, one_device

RECIPES = ("undefended", "mpd-sgr", "tgo", "at-mpd-sgr")


def kernels(device: str) -> dict[str, Any]:
    """Largest relative difference of spikes, gradients and watched quantities, over surrogates, layouts and precisions."""
    kernel = native
    if device == "cuda" or os.environ.get("TRITON_INTERPRET") == "1":
        kernel = importlib.import_module("snnguard.neurons.kernels.gpu").gpu
    worst = {"spikes that differ": 0.0, "gradient": 0.0, "mean": 0.0, "var": 0.0, "hinge": 0.0}
    cases = 0
    for number, make in enumerate(Surrogate.members().values()):
        for shape in ((4, 6, 70, 9, 9), (1, 3, 33, 8, 8), (5, 7, 130)):
            for last in (False, True)[: 2 if len(shape) == 5 else 1]:
                with rng.scope(number):
                    current = torch.randn(shape) + 0.3
                if last:
                    current = current.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (shape[0], -1))
                options = {
                    "steps": max(shape[0], 4), "decay": 0.9, "threshold": 1.0, "reset": ("zero", "subtract")[number % 2],
                    "detach_reset": number % 3 == 0, "surrogate": make(), "watch": Watch(moments=True, bands=(0.3,)),
                }  # fmt: skip
                found = [run(backend, current.to(device), options) for backend in (unroll, kernel)]
                cases += 1
                for name, one, other in zip(worst, *found, strict=True):
                    gap = float((one - other).abs().max() / one.abs().max().clamp_min(1e-9))
                    worst[name] = max(worst[name], gap if math.isfinite(gap) else math.inf)
    return {"cases": cases, "largest relative difference": worst, "kernel": kernel.__name__}


def around(device: str) -> dict[str, Any]:
    """A normalisation and the neuron behind it, by the kernel and by PyTorch's operations before the reference loop: the share
    of gradients that differ by more than a thousandth of the largest (a current at the very threshold may fire in one of the
    two alone). And whether spikes come back from bits.
    """
    differing, cases = 0.0, 0
    for last in (False, True):
        for training in (False, True):
            with rng.scope(cases):
                x, weights = torch.randn(4, 6, 70, 9, 9) * 2 + 0.3, torch.randn(4, 6, 70, 9, 9)
            if last:
                x = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (4, 6))
            found = []
            for joined in (True, False):
                norm, neuron = TDBN(70).to(device).train(training), LIF().build(steps=4)
                leaf = x.to(device).clone(memory_format=torch.preserve_format).requires_grad_()
                if joined:
                    spikes = fire(OverTime(norm), neuron, leaf)
                else:
                    constants = neuron.settings.constants()
                    spikes = unroll(OverTime(norm)(leaf), steps=4, surrogate=neuron.settings.surrogate, **constants)[0]
                found.append(torch.autograd.grad((spikes * weights.to(device)).sum(), [leaf, norm.weight, norm.bias]))
            for one, other in zip(*found, strict=True):
                gap = (one - other).abs() > 1e-3 * other.abs().max()
                differing = max(differing, float(gap.float().mean()))
            cases += 1
    spikes, back = LIF().build(steps=4)(x.to(device)), torch.ones(1, device=device, requires_grad=True)
    with packed_spikes():
        (spikes * back * weights.to(device)).sum().backward()
    same = torch.allclose(back.grad, (spikes * weights.to(device)).sum()[None], rtol=1e-4)
    return {"cases": cases, "share of gradients that differ": differing, "spikes come back from bits": same}


def run(backend: Callable[..., Any], current: torch.Tensor, options: dict[str, Any]) -> tuple[torch.Tensor, ...]:
    """Spikes, the gradient of everything, mean, variance and hinge."""
    leaf = current.clone(memory_format=torch.preserve_format).requires_grad_()
    spikes, seen = backend(leaf, **options)
    weight = torch.cos(torch.arange(spikes.numel(), device=leaf.device)).reshape(spikes.shape)
    loss = (spikes * weight).sum() + seen.mean.sum() + seen.var.square().sum() + seen.hinge.sum()
    return spikes.detach(), torch.autograd.grad(loss, leaf)[0], seen.mean.detach(), seen.var.detach(), seen.hinge.detach()


def speed(device: str, tiny: bool) -> list[dict[str, Any]]:
    """Rows of all contestants that are installed."""
    if tiny:
        cases = [Case(network="vgg5-slim", steps=2, batch=2)]
    else:
        sizes = [(network, steps, 64) for network in ("vgg11", "wrn16") for steps in (4, 8)]
        cases = [
            Case(work=work, network=network, steps=steps, batch=batch, precision=precision)
            for precision in ("float32", "bfloat16")
            for network, steps, batch in sizes
            for work in ("training step", "input gradient")
        ]
    rows = []
    for case in cases:
        found = bench.measure(case, rounds=1 if tiny else 7, device=device)
        print(bench.markdown(found), flush=True)
        rows += [asdict(row) for row in found]
    return rows


def trained(name: str, given: argparse.Namespace, seconds: float, device: str) -> dict[str, Any]:
    """One network, trained and judged in about `seconds`: two thirds for training."""
    data = [] if given.data is None else [f"data.path={given.data}"]
    prefix, defense = ("digits", name) if given.tiny else ("cifar10-vgg11", name)
    overrides = [*data, f"training.device={device}"] + (
        [] if given.tiny else ["training.precision=bf16-mixed", "network.steps=4"]
    )
    recipe = recipes.read(f"{prefix}-{defense}", overrides)
    dataset = load(recipe.data)
    share = epoch_seconds(recipe, dataset)
    epochs = 1 if given.tiny else max(2, int(seconds * 2 / 3 / share))
    recipe = recipes.read(f"{prefix}-{defense}", [*overrides, f"training.epochs={epochs}"])
    began = time.perf_counter()
    folder = given.out / recipe.name
    done = recipes.train(recipe, out=folder, dataset=dataset)
    trained_in = time.perf_counter() - began
    images = 8 if given.tiny else 1000
    record = recipes.judge(done, suite_name="paper", images=images, dataset=dataset, exhibits=False)
    record.save(given.out / f"{recipe.name}.json")
    return {"epochs": epochs, "seconds": trained_in, "seconds per epoch": share, "images": images,
            "right clean": record.clean.hits, "right in the worst case": record.worst_flags.hits}  # fmt: skip


def epoch_seconds(recipe: recipes.Recipe, dataset: Any) -> float:
    """Estimated from a few steps, the first of them, in which kernels are compiled, left out."""
    model = recipes.build(recipe, dataset)
    fabric = one_device(recipe.training)
    loop = Loop(fabric, model, dataset.train, dataset.validation, recipe.defense, recipe.training, None, 0, None, {})
    for _ in range(2):
        loop.step()
    bench.wait()
    began = time.perf_counter()
    for _ in range(4):
        loop.step()
    bench.wait()
    return (time.perf_counter() - began) / 4 * loop.per_epoch


def main() -> None:
    """Checks, measures, trains, judges; each is written at once, and one that fails does not stop the next."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="folder of CIFAR-10's parquet files; else it is downloaded")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--networks", default="undefended", help=f"comma-separated, of {', '.join(RECIPES)}")
    parser.add_argument("--tiny", action="store_true", help="a few seconds on a CPU")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    ends = time.monotonic() + 60 * given.minutes
    where = gather(seed=0)
    kept: dict[str, Any] = {"hardware": where.hardware, "versions": where.versions | bench.library_versions(),
                            "created": where.created, "command": where.command}  # fmt: skip

    def part(name: str, work: Callable[[], Any]) -> None:
        try:
            kept[name] = work()
        except Exception as error:
            kept[name] = {"failed": f"{type(error).__name__}: {error}"}
        print(name, json.dumps(kept[name])[:400], flush=True)
        (given.out / "gpu.json").write_text(json.dumps(kept, indent=1) + "\n")

    part("kernels", lambda: kernels(device))
    part("around the loop", lambda: around(device))
    part("speed", lambda: speed(device, given.tiny))
    names = given.networks.split(",")
    for index, name in enumerate(names):
        seconds = max(20.0, (ends - time.monotonic() - 10) / (len(names) - index))
        part(f"trained {name}", lambda name=name, seconds=seconds: trained(name, given, seconds, device))


if __name__ == "__main__":
    main()
