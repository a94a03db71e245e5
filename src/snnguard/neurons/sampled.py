"""Firing that is drawn: the noisy neuron of NDL."""

from typing import ClassVar, Literal, final

import torch
from pydantic import PositiveFloat
from torch import Tensor

from .surrogate import Gaussian, Sigmoid
from .trait import Firing, Mechanism, Slot, Trait


@final
class SampledFiring(Trait, kind="sampled-firing"):
    """Fires with probability F(ubar / sigma), drawn anew per neuron, step and image; backward by the noise's density.

    F is the distribution function of the membrane's noise: the normal one, sigma its standard deviation, or the logistic
    one, sigma its scale. dE[s]/du = F'(ubar / sigma) / sigma. `inference` False takes the exact step in eval mode.
    SOURCE: Ma 2023 (NDL), noisy after training too. DEVIATION: sigma = 0.2 is ours, that of `MembraneNoise`. In one step
    both fire by the same law; here the noise decides about the spike alone and is not carried in the membrane, and the
    gradient is that of the firing probability instead of a surrogate's at the noisy membrane.
    """

    slot: ClassVar[Slot] = "firing"
    source: ClassVar[str] = "Ma et al., Patterns 2023 (NDL)"

    sigma: PositiveFloat = 0.2
    noise: Literal["gaussian", "logistic"] = "gaussian"
    inference: bool = True

    @property
    def noisy(self) -> bool:
        return self.inference

    def build(self, *, steps: int) -> Mechanism:  # noqa: ARG002
        return Sampled(self)


@final
class Sampled(Firing):
    """The draws of one layer; it has nothing to save."""

    def __init__(self, settings: SampledFiring) -> None:
        super().__init__()
        self.settings = settings

    @property
    def window(self) -> float:
        sigma = self.settings.sigma
        return (Gaussian(sigma=sigma) if self.settings.noise == "gaussian" else Sigmoid(alpha=1 / sigma)).window

    def emit(self, ubar: Tensor) -> Tensor:
        if not (self.training or self.settings.inference):
            return super().emit(ubar)
        return (torch.rand_like(ubar) < self.smooth(ubar)).to(ubar.dtype)

    def smooth(self, ubar: Tensor) -> Tensor:
        z = ubar / self.settings.sigma
        return torch.special.ndtr(z) if self.settings.noise == "gaussian" else torch.sigmoid(z)
