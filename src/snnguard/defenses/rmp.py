"""RMP-loss: membranes pulled to the two values that a spike can have."""

from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor, nn

from snnguard.neurons import Watch, neurons_of

from .defense import Batch, Defense, Step
from .schedule import Rise, risen


@final
class RMPLoss(Defense, kind="rmp"):
    """Loss + weight(progress) * mean over layers of mean((|2 u - 1| - 1)^2), u before reset in units of the threshold.

    The term is 0 where u is 0 or 1, and 1 at u = 1/2. `rise` says how the weight grows over training. It narrows the
    distribution of u, which MPD-SGR widens.
    SOURCE: Guo 2023 (RMP-Loss, ICCV). DEVIATION: a reconstruction; the final weight 0.1 and its linear rise are ours.
    """

    changes: ClassVar[str] = "loss"
    source: ClassVar[str] = "Guo et al., ICCV 2023 (RMP-Loss)"

    weight: float = Field(default=0.1, ge=0)
    rise: Rise = "linear"

    @property
    def watch(self) -> Watch:
        return Watch(potential=self.weight > 0)

    def penalty(self, model: nn.Module, batch: Batch, logits: Tensor, step: Step) -> Tensor | None:  # noqa: ARG002
        weight = risen(self.weight, self.rise, step.progress)
        if weight == 0:
            return None
        neurons = neurons_of(model)
        layers = []
        for name, membrane in step.membranes.items():
            assert membrane.potential is not None
            layers.append(distance(membrane.potential / neurons[name].settings.threshold + 1))
        return weight * torch.stack(layers).mean()


def distance(u: Tensor) -> Tensor:
    """mean((|2 u - 1| - 1)^2): four times the mean squared distance of u to the nearer of 0 and 1. SOURCE: RMP-Loss."""
    return ((2 * u - 1).abs() - 1).square().mean()
