"""The loss around images, in the plane of the attack's direction and a random one, for several gradient rules.

A network that hides its gradient shows it here: along the direction that its gradient gives, the loss rises no faster than
along a random one. SOURCE: the plots of Tramer 2018 (Ensemble Adversarial Training).
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from snnguard import rng
from snnguard.attacks import Model, predict
from snnguard.findings import Surface
from snnguard.neurons import GradientRule
from snnguard.threat import Threat

from .gradients import RULES, input_gradient


def surfaces(
    model: Model, x: Tensor, y: Tensor, *, threat: Threat, rules: Mapping[str, GradientRule | None] = RULES, points: int = 11,
    draws: int = 1, seed: int = 0, batch_size: int = 128,
) -> list[Surface]:  # fmt: skip
    """One entry per rule, on a grid of `points` x `points` from -eps to eps, over raw images `x` [N, *F] of classes `y` [N].

    The random direction is the same under every rule but for being made orthogonal to the attack's. Corners of the plane lie
    outside the ball; no point lies outside the valid range. A random network is asked `draws` times at each point.
    """
    grid = torch.linspace(-threat.eps, threat.eps, points).tolist()
    found = []
    for name, rule in rules.items():
        gradient = input_gradient(model, x, y, rule=rule, draws=draws, seed=seed, batch_size=batch_size)
        along = threat.ascent(gradient)
        across = _orthogonal(threat.ascent(rng.normal(x, rng.derive(seed, "across"))), along, threat)
        loss, right = [], []
        for a in grid:
            for b in grid:
                with rng.scope(rng.derive(seed, "point")):
                    logits = predict(model, threat.clip(x + a * along + b * across), draws=draws, batch_size=batch_size)
                loss.append(float(functional.cross_entropy(logits.cpu().double(), y.cpu().long())))
                right.append(float((logits.argmax(1) == y).float().mean()))
        found.append(
            Surface(
                rule=name,
                eps=threat.eps,
                along=tuple(grid),
                across=tuple(grid),
                loss=_square(loss, points),
                accuracy=_square(right, points),
            )
        )
    return found


def _orthogonal(direction: Tensor, other: Tensor, threat: Threat) -> Tensor:
    """`direction` without its part along `other`, per image, of length 1 in the norm of the threat."""
    a, b = direction.flatten(1), other.flatten(1)
    rest = a - b * ((a * b).sum(1, keepdim=True) / (b * b).sum(1, keepdim=True).clamp_min(1e-30))
    length = threat.distance(rest, torch.zeros_like(rest)).clamp_min(1e-30)
    return (rest / length[:, None]).reshape(direction.shape)


def _square(values: list[float], size: int) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(values[i : i + size]) for i in range(0, len(values), size))
