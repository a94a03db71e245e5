"""What a grid will cost: time from one measured step of each network, memory from what its backward pass keeps."""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from snnguard import rng
from snnguard.attacks import frozen
from snnguard.data.source import KNOWN
from snnguard.defenses import Defense, Stack
from snnguard.defenses.catalogue import catalogue
from snnguard.evaluation import Attacker
from snnguard.networks import Network, construct
from snnguard.recipes import Recipe
from snnguard.training import resolve_device

from .job import Job, Judgement

SIZES = {"digits": (8, 1, 10, 1149, 360), "tiny-imagenet": (64, 3, 200, 90_000, 10_000)}
"""Side, channels, classes, training and test images; all other sets are CIFAR's: 32, 3, 10 or 100, 45,000 and 10,000."""

PROBE, PIXELS = 8, 4096
"""At least so many images and pixels in the step that is timed: small images need many, or the calls would be timed."""


DRAWS = 10
"""Of a random network, as `recipes.judge` takes them."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Seconds on one device like this machine's, and the bytes of the largest training step."""

    seconds: float
    memory: int


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Of one network: seconds per image for a training step and for an input gradient, bytes per image, and parameters."""

    step: float
    gradient: float
    kept: int
    parameters: int
    stochastic: bool


def estimate(jobs: Sequence[Job], out: Path) -> Estimate:
    """For what is not there yet. Rough: one small step is timed, and an attack is counted by its steps on every image."""
    seconds, memory = 0.0, 0
    for job in jobs:
        costs = _costs(
            job.recipe.defense.design(job.recipe.network), job.recipe.data.name, resolve_device(job.recipe.training.device)
        )
        training, batch = job.recipe.training, job.recipe.training.batch_size
        if not (job.folder(out) / "model.safetensors").exists():
            images = training.epochs * _train_size(job.recipe) * (1 + len(job.substitutes))
            seconds += images * costs.step * _factor(job.recipe.defense)
            memory = max(memory, 16 * costs.parameters + batch * costs.kept)
        for judgement in job.judgements:
            if not judgement.path(out, job.name).exists():
                draws = judgement.draws or (DRAWS if costs.stochastic else 1)
                seconds += _images(judgement, job.recipe) * _gradients(judgement, draws) * costs.gradient
    return Estimate(seconds=seconds, memory=memory)


def _train_size(recipe: Recipe) -> int:
    return recipe.data.train_size or SIZES.get(recipe.data.name, (32, 3, 10, 45_000, 10_000))[3]


def _images(judgement: Judgement, recipe: Recipe) -> int:
    there = recipe.data.test_size or SIZES.get(recipe.data.name, (32, 3, 10, 45_000, 10_000))[4]
    return min(judgement.images or there, there)


def _gradients(judgement: Judgement, draws: int) -> float:
    """Input gradients per image, if no attack stopped early and no image fell to an earlier one."""
    attacker = Attacker(draws=draws, substitutes=judgement.transfer)
    total = 0.0
    for entry in judgement.making(attacker).entries:
        settings = entry.attack.to_json()
        inner = settings.get("attack", settings)
        runs = settings.get("classes", 1) if "attack" in settings else 1
        total += float(inner.get("steps", inner.get("queries", 1))) * runs * attacker.draws
    return total


def _factor(defense: Defense) -> float:
    """What a step with this defense costs, in plain steps; measured, see the catalogue."""
    if isinstance(defense, Stack):
        return 1 + sum(_factor(part) - 1 for part in defense.parts)
    return _measured().get(defense.kind) or 1.0


@functools.cache
def _measured() -> dict[str, float | None]:
    return {entry.name: entry.cost for entry in catalogue()}


@functools.cache
def _costs(network: Network, data: str, device: torch.device) -> Costs:
    side, channels, classes, _, _ = SIZES.get(data, (32, 3, KNOWN[data].classes if data in KNOWN else 10, 0, 0))
    model = construct(
        network, classes=classes, image_shape=(channels, side, side), mean=(0.5,) * channels, std=(0.25,) * channels, seed=0
    ).to(device)
    with rng.scope(0):
        x = torch.rand(max(PROBE, PIXELS // side**2), channels, side, side, device=device)
    y = torch.zeros(len(x), dtype=torch.long, device=device)
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        _step(model, x, y)
    step = _timed(lambda: _step(model, x, y), device) / len(x)
    gradient = _timed(lambda: _gradient(model, x, y), device) / len(x)
    return Costs(
        step=step, gradient=gradient, kept=sum(kept.values()) // len(x), parameters=sum(p.numel() for p in model.parameters()),
        stochastic=model.stochastic,
    )  # fmt: skip


def _step(model: nn.Module, x: Tensor, y: Tensor) -> None:
    model.train()
    functional.cross_entropy(model(x), y).backward()


def _gradient(model: nn.Module, x: Tensor, y: Tensor) -> None:
    with frozen(model):
        images = x.clone().requires_grad_()
        torch.autograd.grad(functional.cross_entropy(model(images), y), images)


def _timed(call: Callable[[], None], device: torch.device) -> float:
    call()  # the first one sets things up
    began = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began
