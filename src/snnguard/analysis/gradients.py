"""What an attacker has to follow: how much of the input gradient is zero, and how large it is, under each gradient rule."""

from collections.abc import Mapping

import torch
from torch import Tensor

from snnguard import rng
from snnguard.attacks import InputGradient, Model, frozen
from snnguard.findings import GradientStatistics
from snnguard.neurons import GradientRule, RateGradient, StraightThrough

RULES: dict[str, GradientRule | None] = {"bptt": None, "rate": RateGradient(), "straight-through": StraightThrough()}
"""The rules that are compared unless others are named; None is the network's own."""


def input_gradient(
    model: Model, x: Tensor, y: Tensor, *, rule: GradientRule | None, draws: int, seed: int, batch_size: int
) -> Tensor:  # fmt: skip
    """Like `x`: the gradient of each image's cross-entropy."""
    ask, parts = InputGradient(rule=rule, draws=draws), []
    for index, (images, labels) in enumerate(zip(x.split(batch_size), y.split(batch_size), strict=True)):
        with frozen(model), rng.scope(rng.derive(seed, "batch", index)):
            parts.append(ask(model, images, labels).gradient)
    return torch.cat(parts)


def gradient_statistics(
    model: Model, x: Tensor, y: Tensor, *, rules: Mapping[str, GradientRule | None] = RULES, draws: int = 1, seed: int = 0,
    batch_size: int = 128,
) -> list[GradientStatistics]:  # fmt: skip
    """One entry per rule, of the cross-entropy's gradient at raw images `x` [N, *F] with classes `y` [N].

    Averaged over `draws` first: of a random network, an entry is zero if it is in all of them.
    """
    found = []
    for name, rule in rules.items():
        gradient = input_gradient(model, x, y, rule=rule, draws=draws, seed=seed, batch_size=batch_size).flatten(1).cpu()
        zero = gradient == 0
        found.append(
            GradientStatistics(
                rule=name,
                zero_entries=float(zero.double().mean()),
                zero_images=float(zero.all(1).double().mean()),
                l1=tuple(gradient.double().abs().sum(1).tolist()),
                l2=tuple(torch.linalg.vector_norm(gradient.double(), dim=1).tolist()),
            )
        )
    return found
