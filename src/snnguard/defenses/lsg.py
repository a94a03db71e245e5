"""LSG: the width of the surrogate's window is learned per layer."""

from typing import ClassVar, final

from pydantic import Field, PositiveFloat
from torch import nn

from snnguard.networks import Network
from snnguard.neurons import mechanisms_of
from snnguard.neurons.learned import LearnedWindow, Window

from .defense import Defense, Group, Step


@final
class LSG(Defense, kind="lsg"):
    """Exact spikes; dL/du passes a triangle of half width gamma = softplus(g), g learned per layer with the weights.

    gamma starts at `start`, takes no weight decay and is put back into [low, high] after each step. There is no strength:
    the start alone is the RAT family's neuron. SOURCE: Lian 2023 (LSG). DEVIATION: see `neurons.learned`.
    """

    changes: ClassVar[str] = "neuron"
    source: ClassVar[str] = "Lian et al., IJCAI 2023 (LSG)"

    start: PositiveFloat = 1.0
    low: PositiveFloat = 0.1
    high: PositiveFloat = 4.0
    learning_rate_scale: float = Field(default=1.0, ge=0)

    def design(self, network: Network) -> Network:
        return network.having(LearnedWindow(start=self.start, low=self.low, high=self.high))

    def groups(self, model: nn.Module) -> list[Group]:
        widths = [window.g for window in mechanisms_of(model, Window)]
        return [Group(parameters=widths, weight_decay=0.0, learning_rate_scale=self.learning_rate_scale)]

    def constrain(self, model: nn.Module, step: Step) -> None:  # noqa: ARG002
        for window in mechanisms_of(model, Window):
            window.project()
