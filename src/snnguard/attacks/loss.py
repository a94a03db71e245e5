"""What an attacker raises: losses per sample, [N], never averaged over the batch."""

from abc import abstractmethod
from typing import final

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from snnguard.choice import Choice

from .aim import Aim


class Loss(Choice):
    """Larger is closer to the aim: worse for the model."""

    @abstractmethod
    def __call__(self, logits: Tensor, aim: Aim) -> Tensor:
        """[N] from logits [N, K]."""


@final
class CrossEntropy(Loss, kind="cross-entropy"):
    """-log softmax(z)_y to leave y, log softmax(z)_t to reach t. For soft labels p, -sum p log softmax(z), which differs from
    KL(p || softmax(z)) by a constant."""

    def __call__(self, logits: Tensor, aim: Aim) -> Tensor:
        if aim.reach is not None:
            return -functional.cross_entropy(logits, aim.reach, reduction="none")
        return functional.cross_entropy(logits, aim.leave, reduction="none")


@final
class Margin(Loss, kind="margin"):
    """min(`Aim.lead`, confidence): the negated f of Carlini & Wagner 2017.

    DEVIATION: the runner-up is the maximum over the other classes alone; published SNN codes multiply by a mask, which is
    wrong when all other logits are negative.
    """

    confidence: float = Field(default=0.0, ge=0)

    def __call__(self, logits: Tensor, aim: Aim) -> Tensor:
        return aim.lead(logits).clamp(max=self.confidence)


@final
class DLR(Loss, kind="dlr"):
    """`Aim.lead` / (z_(1) - z_(3)), where z_(k) is the k-th largest logit: it knows no scale and no shift.

    Towards a class t, `Aim.lead` / (z_(1) - (z_(3) + z_(4)) / 2). SOURCE: Croce & Hein 2020, eq. 6 and 7. DEVIATION: where t
    must be reached exactly, the strongest other class stands for the true one in the numerator.
    DEVIATION: below three classes (four, towards a class) there is no such ratio, and `Aim.lead` stands in for it.
    """

    def __call__(self, logits: Tensor, aim: Aim) -> Tensor:
        lead, last = aim.lead(logits), 3 if aim.reach is None else 4
        if logits.shape[1] < last:
            return lead
        largest = logits.sort(dim=1, descending=True, stable=True).values
        return lead / (largest[:, 0] - largest[:, 2:last].mean(1) + TINY)


TINY = 1e-12
"""Keeps the ratio finite where all logits are equal, as in a silent network."""
