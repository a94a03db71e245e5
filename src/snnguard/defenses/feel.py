"""FEEL: frequency encoding and evolutionary leaks."""

from typing import ClassVar, final

from pydantic import Field

from snnguard.encoders.frequency import Frequency
from snnguard.networks import Network
from snnguard.neurons.leak import EvolutionaryLeak

from .defense import Defense


@final
class FEEL(Defense, kind="feel"):
    """Later time steps see only low frequencies of the image, and every neuron learns a leak for every step.

    x[t] = real part of IFFT(M_r(t) * FFT(x)); u[t] = L[t] * v[t-1] + I[t]. `encoding` and `leak` switch the halves off.
    The leaks take the recipe's weight decay, as published.
    SOURCE: Xu 2024 (FEEL): radii fall by an eighth of H/2 per step for 32x32; L = 1 at the start. DEVIATION: see
    `encoders.frequency` for the mask.
    """

    changes: ClassVar[str] = "encoding, neuron"
    source: ClassVar[str] = "Xu et al., NeurIPS 2024 (FEEL)"

    encoding: bool = True
    leak: bool = True
    drop: float = Field(default=0.125, ge=0, le=1)
    leak_start: float = Field(default=1.0, ge=0, le=1)

    def design(self, network: Network) -> Network:
        if self.leak:
            network = network.having(EvolutionaryLeak(start=self.leak_start))
        return network.model_copy(update={"encoder": Frequency(drop=self.drop)}) if self.encoding else network
