"""PLIF: one learned leak per layer."""

from typing import ClassVar, final

from pydantic import Field
from torch import nn

from snnguard.networks import Network
from snnguard.neurons import mechanisms_of
from snnguard.neurons.leak import LayerLeak, LearnedLeak

from .defense import Defense, Group


@final
class PLIF(Defense, kind="plif"):
    """u[t] = sigmoid(w) * v[t-1] + I[t], one learned w per layer: see `neurons.leak`.

    `start` is the decay at the start of training. w takes no weight decay, which would pull every decay to 1/2. It has no
    strength: a network with it is never the plain one.
    SOURCE: Fang 2021 (PLIF), start 1 - 1/2, trained without weight decay. DEVIATION: the current is not scaled by
    1 - decay.
    """

    changes: ClassVar[str] = "neuron"
    source: ClassVar[str] = "Fang et al., ICCV 2021 (PLIF)"

    start: float = Field(default=0.5, gt=0, lt=1)

    def design(self, network: Network) -> Network:
        return network.having(LearnedLeak(start=self.start))

    def groups(self, model: nn.Module) -> list[Group]:
        return [Group(parameters=[leak.w for leak in mechanisms_of(model, LayerLeak)], weight_decay=0.0)]
