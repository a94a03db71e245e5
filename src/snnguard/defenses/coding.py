"""Randomised input coding as a defense: RSC and Poisson."""

from typing import ClassVar, final

from pydantic import Field

from snnguard.attacks import PGD, Attack, InputGradient
from snnguard.encoders import Poisson
from snnguard.encoders.randomised import RSC
from snnguard.networks import Network

from .defense import Defense

EXPECTATION = PGD(steps=20, gradient=InputGradient(draws=10))
"""What any honest evaluation of a random network includes: an attack on its expectation over draws."""


@final
class RSCDefense(Defense, kind="rsc"):
    """Every time step sees the image plus fresh Gaussian noise, in training and after it.

    x[t] = x + N(0, sigma^2). SOURCE: Wu 2024 (RSC-SNN). DEVIATION: sigma is not published; 0.25 is ours. The paper's
    distillation from an ANN is not part of it; stack it with `distill`.
    """

    changes: ClassVar[str] = "encoding"
    source: ClassVar[str] = "Wu et al., ACM MM 2024 (RSC-SNN)"

    sigma: float = Field(default=0.25, ge=0)

    def design(self, network: Network) -> Network:
        return network.model_copy(update={"encoder": RSC(sigma=self.sigma)}) if self.sigma else network

    def adaptive(self) -> tuple[Attack, ...]:
        return (EXPECTATION,) if self.sigma else ()


@final
class PoissonDefense(Defense, kind="poisson"):
    """A pixel x in [0, 1] spikes in each time step with probability x, drawn anew in every call, after training too.

    SOURCE: Sharmin 2020; the convention of RGA's code (no normalisation, identity backward).
    """

    changes: ClassVar[str] = "encoding"
    source: ClassVar[str] = "Sharmin et al., ECCV 2020"

    def design(self, network: Network) -> Network:
        return network.model_copy(update={"encoder": Poisson()})

    def adaptive(self) -> tuple[Attack, ...]:
        return (EXPECTATION,)
