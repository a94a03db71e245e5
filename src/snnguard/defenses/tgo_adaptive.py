"""TGO with a band that follows each layer's own spread."""

from typing import ClassVar, final

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn

from snnguard.attacks import Attack
from snnguard.networks import Network
from snnguard.neurons import MembraneNoise, Watch
from snnguard.neurons.watch import mean_hinge

from .coding import EXPECTATION
from .defense import Batch, Defense, Step
from .schedule import Rise, risen


@final
class AdaptiveTGO(Defense, kind="tgo-adaptive"):
    """Loss + lambda(progress) * sum over layers of mean(max(0, delta_l - |ubar|)), delta_l = share * std(ubar of layer l).

    ubar is `u - threshold` without the noise of the step; its spread is that of the same pass over images, neurons and
    steps, and has no gradient. lambda rises as a cosine from 0 to `lambda_max`; 0 switches the constraint off, `sigma` 0
    the noise N(0, sigma^2) in the membrane. With `inference_noise` the network stays random after training.

    Choose sigma on images held back from training, never on those of the test:
    `snnguard sweep digits-tgo-adaptive defense.sigma=0.1,0.2,0.4 --split validation`.
    SOURCE: TGO (ICLR 2026). DEVIATION: TGO has one delta for all layers, which is not published; delta_l is ours. The
    spread behind a fresh tdBN is about 1, so a share of 0.5 begins near the 0.5 of `tgo`.
    """

    changes: ClassVar[str] = "loss, neuron"
    source: ClassVar[str] = "after TGO, ICLR 2026 (arXiv 2602.20548)"

    lambda_max: float = Field(default=0.6, ge=0)
    share: PositiveFloat = 0.5
    sigma: float = Field(default=0.2, ge=0)
    inference_noise: bool = False
    rise: Rise = "cosine"

    @property
    def watch(self) -> Watch:
        return Watch(potential=self.lambda_max > 0)

    def design(self, network: Network) -> Network:
        if self.sigma == 0:
            return network
        return network.having(MembraneNoise(sigma=self.sigma, inference=self.inference_noise))

    def penalty(self, model: nn.Module, batch: Batch, logits: Tensor, step: Step) -> Tensor | None:  # noqa: ARG002
        weight = risen(self.lambda_max, self.rise, step.progress)
        if weight == 0:
            return None
        layers = []
        for membrane in step.membranes.values():
            assert membrane.potential is not None
            spread = float(membrane.potential.detach().std(correction=0))
            layers.append(mean_hinge(membrane.potential, self.share * spread))
        return weight * torch.stack(layers).sum()

    def adaptive(self) -> tuple[Attack, ...]:
        return (EXPECTATION,) if self.inference_noise and self.sigma else ()
