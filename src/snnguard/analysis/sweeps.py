"""Accuracy under one attack while one of its settings grows: its radius, or its number of steps."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from snnguard import rng
from snnguard.attacks import Attack, Model, predict
from snnguard.errors import RequestError
from snnguard.findings import StepSweep
from snnguard.record import Curve, Flags, Interval
from snnguard.threat import Threat


def curve(
    model: Model, x: Tensor, y: Tensor, *, attack: Attack, threat: Threat, radii: Sequence[float], seed: int = 0,
    name: str = "pgd", draws: int = 1, batch_size: int = 256,
) -> Curve:  # fmt: skip
    """Accuracy under one attack at each radius; the samples that fell at a smaller one stay fallen."""
    cases = [(attack, threat.model_copy(update={"eps": radius})) for radius in sorted(radii)]
    found = _standing(model, x, y, cases, seed, draws, batch_size)
    return Curve(name=name, eps=tuple(sorted(radii)), accuracy=tuple(found))


def step_sweep(
    model: Model, x: Tensor, y: Tensor, *, attack: Attack, threat: Threat, steps: Sequence[int], seed: int = 0,
    name: str = "pgd", draws: int = 1, batch_size: int = 256,
) -> StepSweep:  # fmt: skip
    """Accuracy under one attack after each number of steps, 0 for none; who fell to fewer steps stays fallen.

    Each number is an attack of its own, with the same step size. Raises `RequestError` if the attack takes no steps.
    """
    if "steps" not in type(attack).model_fields:
        raise RequestError(f"{attack} takes no steps that could be swept; choose an iterative attack such as pgd")
    still = threat.model_copy(update={"eps": 0.0})
    counts = sorted(steps)
    cases = [(attack.model_copy(update={"steps": count}), threat) if count else (attack, still) for count in counts]
    found = _standing(model, x, y, cases, seed, draws, batch_size)
    return StepSweep(name=name, steps=tuple(counts), accuracy=tuple(found))


def attacked_images(
    attack: Attack, model: Model, x: Tensor, y: Tensor, *, threat: Threat, seed: int, batch_size: int
) -> Tensor:  # fmt: skip
    """What the attack makes of images `x` [N, *F] of classes `y` [N], in batches; they matter to a random network alone."""
    parts = zip(x.split(batch_size), y.split(batch_size), strict=True)
    return torch.cat([attack(model, images, labels, threat=threat, seed=seed) for images, labels in parts])


def _standing(
    model: Model, x: Tensor, y: Tensor, cases: Iterable[tuple[Attack, Threat]], seed: int, draws: int, batch_size: int
) -> Iterator[Interval]:  # fmt: skip
    """After each case, the share of samples that are right clean and that it and all before it have left."""
    with rng.scope(rng.derive(seed, "curve")):
        standing = predict(model, x, draws=draws, batch_size=batch_size).argmax(1) == y
    for attack, threat in cases:
        index = standing.nonzero().flatten()
        if threat.eps > 0 and len(index):
            drawn = rng.derive(seed, "curve")
            x_adv = attacked_images(attack, model, x[index], y[index], threat=threat, seed=drawn, batch_size=batch_size)
            with rng.scope(rng.derive(seed, "curve", "judgement")):
                standing[index] = predict(model, x_adv, draws=draws, batch_size=batch_size).argmax(1) == y[index]
        yield Flags(tuple(standing.tolist())).interval
