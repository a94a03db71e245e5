"""Soft reset: a spike takes one threshold from the membrane, and the rest stays."""

from typing import ClassVar, final

from snnguard.networks import Network

from .defense import Defense


@final
class SoftReset(Defense, kind="soft-reset"):
    """v = u - threshold * s in place of v = u * (1 - s): what exceeds the threshold counts in the next step.

    It has no strength: a network with it is never the plain one.
    SOURCE: Rueckauer 2017; Han 2020.
    """

    changes: ClassVar[str] = "neuron"
    source: ClassVar[str] = "Rueckauer et al. 2017; Han et al., CVPR 2020"

    def design(self, network: Network) -> Network:
        return network.model_copy(update={"neuron": network.neuron.model_copy(update={"reset": "subtract"})})
