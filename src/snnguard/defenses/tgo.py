"""Threshold guarding optimisation: push membrane potentials away from the threshold (MC) and fire with noise (NLIF)."""

from typing import ClassVar, final

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn

from snnguard.attacks import Attack
from snnguard.choice import named
from snnguard.networks import Network
from snnguard.neurons import MembraneNoise, Watch

from .coding import EXPECTATION
from .defense import Batch, Defense, Step
from .schedule import Rise, risen


@final
class TGO(Defense, kind="tgo"):
    """Loss + lambda(progress) * sum over layers of mean(max(0, delta - |u - threshold|)), and noisy neurons.

    `lambda_max` 0 switches the constraint off, `sigma` 0 the noise. lambda rises as a cosine from 0 to `lambda_max`. The
    constraint sees the membrane without the noise of the current step. With `inference_noise` the network stays random
    after training, and attacks need an expectation over draws.

    SOURCE: TGO (ICLR 2026, arXiv 2602.20548); lambda_max 0.4 for WRN16, 0.6 for VGG11. DEVIATION: delta and sigma are
    not published; 0.5 (half the triangle's half width) and 0.2 are ours. Ours too, where the text is garbled or silent:
    the cosine of lambda, the mean within a layer before the sum, the noise kept in the state, the surrogate's own gradient
    under noise, the constraint without the noise, and no noise after training by default.
    """

    changes: ClassVar[str] = "loss, neuron"
    source: ClassVar[str] = "TGO, ICLR 2026 (arXiv 2602.20548)"

    lambda_max: float = Field(default=0.6, ge=0)
    delta: PositiveFloat = 0.5
    sigma: float = Field(default=0.2, ge=0)
    inference_noise: bool = False
    rise: Rise = "cosine"

    def touches(self) -> str:
        return ", ".join(word for word, on in (("loss", self.lambda_max), ("neuron", self.sigma)) if on)

    @property
    def watch(self) -> Watch:
        return Watch(bands=(self.delta,) if self.lambda_max > 0 else ())

    def design(self, network: Network) -> Network:
        if self.sigma == 0:
            return network
        return network.having(MembraneNoise(sigma=self.sigma, inference=self.inference_noise))

    def penalty(self, model: nn.Module, batch: Batch, logits: Tensor, step: Step) -> Tensor | None:  # noqa: ARG002
        weight = risen(self.lambda_max, self.rise, step.progress)
        if weight == 0:
            return None
        return weight * torch.stack([membrane.band(self.delta) for membrane in step.membranes.values()]).sum()

    def adaptive(self) -> tuple[Attack, ...]:
        return (EXPECTATION,) if self.inference_noise and self.sigma else ()


@named(Defense, "tgo-mc")
def tgo_mc(*, lambda_max: float = 0.6, delta: float = 0.5) -> TGO:
    """TGO's membrane constraint alone."""
    return TGO(lambda_max=lambda_max, delta=delta, sigma=0)


@named(Defense, "tgo-nlif")
def tgo_nlif(*, sigma: float = 0.2, inference_noise: bool = False) -> TGO:
    """TGO's noisy neurons alone."""
    return TGO(lambda_max=0, sigma=sigma, inference_noise=inference_noise)
