"""ASGL: training starts with a smooth network and ends with a spiking one."""

from typing import ClassVar, final

from pydantic import Field, PositiveFloat
from torch import nn

from snnguard.networks import Network
from snnguard.neurons import mechanisms_of
from snnguard.neurons.learned import AdaptiveSmooth, Smoothing

from .defense import Batch, Defense, Group, Step


@final
class ASGL(Defense, kind="asgl"):
    """Neurons emit y = (1 - m) P(ubar) + m H(ubar), m ~ Bernoulli(p), with p rising linearly from p_start to 1.

    P is a smooth step whose slope alpha is learned per layer, without weight decay, and whose gradient is that of y. In
    eval mode, so in every attack on the finished network, only spikes are left: nothing is random. There is no strength:
    `p_start=1` has real spikes throughout and still learns alpha.
    SOURCE: Wang 2023 (ASGL), alpha = 1 at the start. DEVIATION: the paper raises p at milestones by a factor that
    differs from data set to data set; the straight line from 0.8 is ours.
    """

    changes: ClassVar[str] = "neuron"
    source: ClassVar[str] = "Wang et al., ICML 2023 (ASGL)"

    alpha: PositiveFloat = 1.0
    p_start: float = Field(default=0.8, ge=0, le=1)
    learning_rate_scale: float = Field(default=1.0, ge=0)

    def design(self, network: Network) -> Network:
        return network.having(AdaptiveSmooth(alpha=self.alpha, p=self.p_start))

    def groups(self, model: nn.Module) -> list[Group]:
        slopes = [layer.a for layer in mechanisms_of(model, Smoothing)]
        return [Group(parameters=slopes, weight_decay=0.0, learning_rate_scale=self.learning_rate_scale)]

    def prepare(self, model: nn.Module, batch: Batch, step: Step) -> None:  # noqa: ARG002
        self._move(model, step)

    def finish(self, model: nn.Module, step: Step) -> None:
        self._move(model, step)  # the last step began just before the end

    def _move(self, model: nn.Module, step: Step) -> None:
        for layer in mechanisms_of(model, Smoothing):
            layer.p.fill_(self.p_start + (1 - self.p_start) * step.progress)
