"""Randomised smoothing: Gaussian noise on every image, so that the majority vote can be certified."""

from typing import ClassVar, final

from pydantic import Field

from snnguard.attacks import Attack
from snnguard.networks import Network

from .coding import EXPECTATION
from .defense import Defense


@final
class Smoothing(Defense, kind="smoothing"):
    """The network sees x + N(0, sigma^2) in every call, the same noise in all of its time steps, in training and after it.

    The smoothed classifier is the class that such a network gives most often; `snnguard certify RUN` gives the radius
    within which no perturbation changes it. The noise comes before the encoder, so it goes with `rsc` and `poisson` too.
    `sigma` is in raw units, not clamped to the range; 0 is no defense.
    SOURCE: Cohen 2019, who train with 0.12, 0.25, 0.5 and 1; which of them is the default is our choice.
    """

    changes: ClassVar[str] = "encoding"
    source: ClassVar[str] = "Cohen et al., ICML 2019"

    sigma: float = Field(default=0.25, ge=0)

    def design(self, network: Network) -> Network:
        return network.model_copy(update={"input_noise": self.sigma}) if self.sigma else network

    def adaptive(self) -> tuple[Attack, ...]:
        return (EXPECTATION,) if self.sigma else ()
