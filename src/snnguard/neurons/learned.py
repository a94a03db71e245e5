"""Firing whose smoothness is learned with the weights: the window of LSG, the mixture of ASGL."""

import math
from typing import ClassVar, Self, final

import torch
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor, nn
from torch.nn import functional

from .surrogate import Rectangular, Triangle
from .trait import Firing, Mechanism, Slot, Trait

TRIANGLE = Triangle(gamma=1)
RECTANGLE = Rectangular(width=1)


@final
class LearnedWindow(Trait, kind="learned-window"):
    """Exact spikes; backward through the smooth step of a triangle whose width gamma = softplus(g) is learned per layer.

    g learns from dP(ubar / gamma) / dg, with P the antiderivative of the triangle. `Window.project` keeps gamma within
    [low, high]. SOURCE: Lian 2023 (LSG), which lets the width follow the spread of the membrane; the range is the one of
    METHODS 8, the start the fixed width of the RAT family. DEVIATION: the softplus and the triangle are ours.
    """

    slot: ClassVar[Slot] = "firing"
    source: ClassVar[str] = "Lian et al., IJCAI 2023 (LSG)"

    start: PositiveFloat = 1.0
    low: PositiveFloat = 0.1
    high: PositiveFloat = 4.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low <= self.start <= self.high:
            raise ValueError(f"a window of {self.start} does not lie within [{self.low}, {self.high}]")
        return self

    def build(self, *, steps: int) -> Mechanism:  # noqa: ARG002
        return Window(self)


@final
class Window(Firing):
    """The window of one layer."""

    def __init__(self, settings: LearnedWindow) -> None:
        super().__init__()
        self.settings = settings
        self.g = nn.Parameter(torch.tensor(_inverse_softplus(settings.start)))

    @property
    def gamma(self) -> Tensor:
        """The half width of the window, in units of the membrane."""
        return functional.softplus(self.g)

    @property
    def window(self) -> float:
        return float(self.gamma.detach())

    def smooth(self, ubar: Tensor) -> Tensor:
        return TRIANGLE.primitive(ubar / self.gamma)

    @torch.no_grad()
    def project(self) -> None:
        """Puts gamma back into its range; a clamp in `smooth` instead would let no gradient lead back into it."""
        self.g.clamp_(_inverse_softplus(self.settings.low), _inverse_softplus(self.settings.high))


@final
class AdaptiveSmooth(Trait, kind="adaptive-smooth"):
    """y = (1 - m) P(ubar) + m H(ubar), m ~ Bernoulli(p) per neuron, step and image in training; H(ubar) in eval mode.

    P(ubar) = clamp(alpha ubar + 1/2, 0, 1) with alpha = exp(a) learned per layer; the whole of y differentiates as P. The
    share p of real spikes is a buffer, for a defense to move.
    SOURCE: Wang 2023 (ASGL), alpha = 1 at the start. DEVIATION: the published code draws m once per image and neuron and
    keeps it over the time steps.
    """

    slot: ClassVar[Slot] = "firing"
    source: ClassVar[str] = "Wang et al., ICML 2023 (ASGL)"

    alpha: PositiveFloat = 1.0
    p: float = Field(default=0.8, ge=0, le=1)

    def build(self, *, steps: int) -> Mechanism:  # noqa: ARG002
        return Smoothing(self)


@final
class Smoothing(Firing):
    """The mixture of one layer; `p` is the share of real spikes."""

    p: Tensor

    def __init__(self, settings: AdaptiveSmooth) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(math.log(settings.alpha)))
        self.register_buffer("p", torch.tensor(settings.p))

    def emit(self, ubar: Tensor) -> Tensor:
        spikes = super().emit(ubar)
        if not self.training:
            return spikes
        # rand is in [0, 1), so p = 1 leaves only spikes and p = 0 none.
        return torch.where(torch.rand_like(ubar) < self.p, spikes, self.smooth(ubar))

    @property
    def window(self) -> float:
        return 0.5 * math.exp(-float(self.a.detach()))

    def smooth(self, ubar: Tensor) -> Tensor:
        return RECTANGLE.primitive(ubar * self.a.exp())


def _inverse_softplus(width: float) -> float:
    return width + math.log(-math.expm1(-width))
