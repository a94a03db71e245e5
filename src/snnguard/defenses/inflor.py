"""InfLoR-SNN: a soft reset and a rectified membrane, so that firing loses little of what the membrane held."""

from typing import ClassVar, final

from snnguard.networks import Network
from snnguard.neurons.rectifier import MembraneRectifier

from .defense import Defense


@final
class InfLoR(Defense, kind="inflor"):
    """u <- threshold * phi(u / threshold) before firing, v = u - threshold * s after it.

    phi draws the membrane to the two values of a spike, 0 and 1; see `neurons.rectifier`. `rectify` and `soft_reset`
    switch the halves off; without both it is no defense.
    SOURCE: Guo 2022 (InfLoR-SNN, ECCV); it has no strength to choose.
    """

    changes: ClassVar[str] = "neuron"
    source: ClassVar[str] = "Guo et al., ECCV 2022 (InfLoR-SNN)"

    rectify: bool = True
    soft_reset: bool = True

    def design(self, network: Network) -> Network:
        if self.soft_reset:
            soft = network.neuron.model_copy(update={"reset": "subtract"})
            network = network.model_copy(update={"neuron": soft})
        return network.having(MembraneRectifier()) if self.rectify else network
