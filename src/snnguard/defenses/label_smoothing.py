"""Label smoothing: a little of every label goes to all classes alike."""

from dataclasses import replace
from typing import ClassVar, final

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from snnguard.attacks import is_soft

from .defense import Batch, Defense, Step


@final
class LabelSmoothing(Defense, kind="label-smoothing"):
    """y <- (1 - amount) onehot(y) + amount / K over K classes; labels that are soft already (after `mixup`) in the same way.

    A loss or an attack later in the stack sees the smoothed labels: `at` before it crafts with the classes, `at` behind it
    with what is trained on. It is a part of a stack; `Training.label_smoothing` smooths the plain cross-entropy alone, and
    both together smooth twice. `amount` 0 is plain training. SOURCE: Szegedy 2016, amount 0.1.
    """

    changes: ClassVar[str] = "data"
    source: ClassVar[str] = "Szegedy et al., CVPR 2016"

    amount: float = Field(default=0.1, ge=0, lt=1)

    def batch(self, model: nn.Module, batch: Batch, step: Step) -> Batch:  # noqa: ARG002
        if self.amount == 0:
            return batch
        y = soft(batch.y, classes=step.classes, like=batch.clean)
        return replace(batch, y=(1 - self.amount) * y + self.amount / y.shape[1])


def soft(y: Tensor, *, classes: int, like: Tensor) -> Tensor:
    """Labels as probabilities [N, K] in the dtype of `like`: one-hot classes, or soft labels as they are."""
    return y if is_soft(y) else functional.one_hot(y.long(), classes).to(like.dtype)
