"""Noise in the membrane: the neuron of TGO's NLIF."""

from typing import ClassVar, final

from pydantic import Field

from .drawn import Noise
from .trait import Mechanism, Slot, Trait


@final
class MembraneNoise(Trait, kind="membrane-noise"):
    """u[t] = decay * v[t-1] + I[t] + xi[t], xi ~ N(0, sigma^2), fresh in every step.

    So the neuron fires with probability Phi((V - threshold) / sigma), where V is the membrane without this step's noise.
    The noise is carried in the state. With `inference=False` the neuron is noiseless in eval mode.
    SOURCE: TGO (ICLR 2026). DEVIATION: sigma is not published; 0.2 is ours.
    """

    slot: ClassVar[Slot] = "noise"
    source: ClassVar[str] = "TGO, ICLR 2026 (arXiv 2602.20548)"

    sigma: float = Field(default=0.2, ge=0)
    inference: bool = False

    @property
    def noisy(self) -> bool:
        return self.inference and self.sigma > 0

    def build(self, *, steps: int) -> Mechanism:  # noqa: ARG002
        return _Noise(self)


class _Noise(Mechanism):
    def __init__(self, settings: MembraneNoise) -> None:
        super().__init__()
        self.settings = settings

    def noise(self) -> Noise | None:
        sigma = self.settings.sigma
        return Noise.fresh(sigma) if sigma and (self.training or self.settings.inference) else None
