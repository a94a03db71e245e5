"""NDL: neurons that fire by chance, trained through the density of their noise."""

from typing import ClassVar, Literal, final

from pydantic import Field

from snnguard.attacks import Attack
from snnguard.networks import Network
from snnguard.neurons.sampled import SampledFiring

from .coding import EXPECTATION
from .defense import Defense


@final
class NDL(Defense, kind="ndl"):
    """P(s = 1) = F(ubar / sigma), in training and, with `inference`, after it; dE[s]/du is the density of the noise.

    `sigma=0` is no defense. SOURCE: Ma 2023 (NDL): Gaussian noise that stays on. DEVIATION: sigma = 0.2 is ours, see
    `neurons.sampled`.
    """

    changes: ClassVar[str] = "neuron"
    source: ClassVar[str] = "Ma et al., Patterns 2023 (NDL)"

    sigma: float = Field(default=0.2, ge=0)
    noise: Literal["gaussian", "logistic"] = "gaussian"
    inference: bool = True

    def design(self, network: Network) -> Network:
        if self.sigma == 0:
            return network
        return network.having(SampledFiring(sigma=self.sigma, noise=self.noise, inference=self.inference))

    def adaptive(self) -> tuple[Attack, ...]:
        return (EXPECTATION,) if self.sigma and self.inference else ()
