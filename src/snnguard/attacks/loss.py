"""What an attacker raises: losses per sample, [N], never averaged over the batch."""

from abc import abstractmethod
from typing import final

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from snnguard.choice import Choice
from snnguard.errors import InvalidInput

from .model import hard


class Loss(Choice):
    """Larger is worse for the model. `targeted` turns it round: larger is closer to class `y`."""

    @abstractmethod
    def per_sample(self, logits: Tensor, y: Tensor) -> Tensor:
        """[N] from logits [N, K] and classes [N] (or soft labels [N, K]), untargeted."""

    def __call__(self, logits: Tensor, y: Tensor, *, targeted: bool) -> Tensor:
        return -self.per_sample(logits, y) if targeted else self.per_sample(logits, y)


@final
class CrossEntropy(Loss, kind="cross-entropy"):
    """-log softmax(z)_y; for soft labels p, -sum p log softmax(z), which differs from KL(p || softmax(z)) by a constant."""

    def per_sample(self, logits: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(logits, y, reduction="none")


@final
class Margin(Loss, kind="margin"):
    """min(max_{i != y} z_i - z_y, confidence): the negated f of Carlini & Wagner 2017.

    DEVIATION: the runner-up is the maximum over the other classes alone; published SNN codes multiply by a mask, which is
    wrong when all other logits are negative. Targeted, it is min(z_y - max_{i != y} z_i, confidence).
    """

    confidence: float = Field(default=0.0, ge=0)

    def per_sample(self, logits: Tensor, y: Tensor) -> Tensor:
        return margin(logits, y).clamp(max=self.confidence)

    def __call__(self, logits: Tensor, y: Tensor, *, targeted: bool) -> Tensor:
        # The cap comes after the sign: capping first would leave a targeted attack without a gradient until it succeeds.
        return (-margin(logits, y)).clamp(max=self.confidence) if targeted else self.per_sample(logits, y)


@final
class DLR(Loss, kind="dlr"):
    """-(z_y - max_{i != y} z_i) / (z_(1) - z_(3)), where z_(k) is the k-th largest logit: it knows no scale and no shift.

    Targeted at class t, (z_t - max_{i != t} z_i) / (z_(1) - (z_(3) + z_(4)) / 2). SOURCE: Croce & Hein 2020, eq. 6 and 7.
    DEVIATION: targeted, their numerator has the true class; an attack knows its target alone, so the strongest other class
    stands for it. Raises `InvalidInput` below three classes (four, targeted), where the ratio is constant.
    """

    def per_sample(self, logits: Tensor, y: Tensor) -> Tensor:
        first, _, third = _largest(logits, 3)
        return margin(logits, y) / (first - third + TINY)

    def __call__(self, logits: Tensor, y: Tensor, *, targeted: bool) -> Tensor:
        if not targeted:
            return self.per_sample(logits, y)
        first, _, third, fourth = _largest(logits, 4)
        return -margin(logits, y) / (first - (third + fourth) / 2 + TINY)


TINY = 1e-12
"""Keeps the ratio finite where all logits are equal, as in a silent network."""


def _largest(logits: Tensor, k: int) -> tuple[Tensor, ...]:
    """The `k` largest logits, each [N]. Raises `InvalidInput` where there are fewer."""
    if logits.shape[1] < k:
        raise InvalidInput(f"the DLR loss needs at least {k} classes here, found {logits.shape[1]}; take cross-entropy")
    return logits.sort(dim=1, descending=True, stable=True).values[:, :k].unbind(1)


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """max_{i != y} z_i - z_y, [N]; positive where the sample is misclassified."""
    y = hard(y)
    own = logits.gather(1, y[:, None])
    others = logits.scatter(1, y[:, None], -torch.inf)
    return others.amax(1) - own[:, 0]
