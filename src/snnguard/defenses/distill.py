"""Distillation: an undefended teacher, to win back the clean accuracy that a defense costs."""

from typing import ClassVar, final

from pydantic import Field, PositiveFloat
from torch import Tensor, nn

from snnguard.attacks import predict

from .defense import Batch, Defense, Step
from .divergence import divergence
from .stack import Stack


@final
class Distill(Defense, kind="distill"):
    """Loss + weight * T^2 * KL(softmax(z_teacher(clean) / T) || softmax(z / T)), z on the training images, T the temperature.

    The teacher is the same network trained before by the same recipe, with `teacher` as its defense (none by default); it
    sees the images before any perturbation and learns nothing. T^2 keeps the size of the gradient. `weight` 0 is plain
    training, and trains no teacher. SOURCE: Hinton 2015, a weighted mean of the two terms. DEVIATION: a sum; weight 1 and
    temperature 2 are ours.
    """

    changes: ClassVar[str] = "loss"
    source: ClassVar[str] = "Hinton et al. 2015 (arXiv 1503.02531)"

    weight: float = Field(default=1.0, ge=0)
    temperature: PositiveFloat = 2.0
    teacher: Defense = Stack()

    def teachers(self) -> dict[str, Defense]:
        return {self.kind: self.teacher} if self.weight else {}

    def penalty(self, model: nn.Module, batch: Batch, logits: Tensor, step: Step) -> Tensor | None:  # noqa: ARG002
        if self.weight == 0:
            return None
        taught, t = predict(step.teachers[self.kind], batch.clean), self.temperature
        return self.weight * t**2 * divergence(taught / t, logits / t).mean()
