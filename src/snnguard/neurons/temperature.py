"""Firing with a temperature that a defense can move: the neuron of Dspike."""

from typing import ClassVar, final

import torch
from pydantic import PositiveFloat
from torch import Tensor

from .surrogate import dspike
from .trait import Firing, Mechanism, Slot, Trait


@final
class DspikeFiring(Trait, kind="dspike-firing"):
    """Exact spikes; backward through the step of `Dspike`, with a temperature b that is a buffer of each layer.

    SOURCE: Li 2021 (Dspike), b = 3.
    """

    slot: ClassVar[Slot] = "firing"
    source: ClassVar[str] = "Li et al., NeurIPS 2021 (Dspike)"

    b: PositiveFloat = 3.0

    def build(self, *, steps: int) -> Mechanism:  # noqa: ARG002
        return Temperature(self)


@final
class Temperature(Firing):
    """The temperature of one layer."""

    b: Tensor

    def __init__(self, settings: DspikeFiring) -> None:
        super().__init__()
        self.register_buffer("b", torch.tensor(settings.b))

    @property
    def window(self) -> float:
        return 0.5

    def smooth(self, ubar: Tensor) -> Tensor:
        return dspike(ubar, self.b)
