"""IM-loss: membranes centred on the threshold, where a spike says most."""

from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor, nn

from snnguard.neurons import Watch, neurons_of

from .defense import Batch, Defense, Step
from .schedule import Rise, risen


@final
class IMLoss(Defense, kind="im-loss"):
    """Loss + weight * mean over layers of ((mean(u) - threshold) / threshold)^2, u before reset.

    mean(u) is over images, neurons and time steps. A membrane that lies above the threshold half of the time gives the
    spikes the largest entropy. MPD-SGR pushes membranes away from where this one draws them.
    SOURCE: Guo 2022 (IM-Loss, NeurIPS). DEVIATION: a reconstruction; the division by the threshold, the mean over layers
    and the weight 0.1 are ours. The evolving surrogate of the paper is not part of it.
    """

    changes: ClassVar[str] = "loss"
    source: ClassVar[str] = "Guo et al., NeurIPS 2022 (IM-Loss)"

    weight: float = Field(default=0.1, ge=0)
    rise: Rise = "constant"

    @property
    def watch(self) -> Watch:
        return Watch(moments=self.weight > 0)

    def penalty(self, model: nn.Module, batch: Batch, logits: Tensor, step: Step) -> Tensor | None:  # noqa: ARG002
        weight = risen(self.weight, self.rise, step.progress)
        if weight == 0:
            return None
        neurons = neurons_of(model)
        layers = []
        for name, membrane in step.membranes.items():
            assert membrane.mean is not None
            # Every channel and step has as many values as the others, so the mean of their means is the mean of all.
            layers.append((membrane.mean.mean() / neurons[name].settings.threshold).square())
        return weight * torch.stack(layers).mean()
