"""Surrogate gradients: what the backward pass puts in place of the derivative of the spike.

The forward pass is always the exact Heaviside step of `ubar = u - threshold` (`ubar == 0` fires); a surrogate says only
what its derivative is taken to be. SOURCE: METHODS of the RAT family and of Zenke & Ganguli 2018, Fang 2021.
"""

import math
from abc import abstractmethod
from typing import Protocol, final

import torch
from pydantic import PositiveFloat
from torch import Tensor

from snnguard.choice import Choice


class Slope(Protocol):
    """What the backward pass of one time step needs to know."""

    def derivative(self, ubar: Tensor) -> Tensor:
        """The stand-in for the derivative of the step, elementwise, the shape of `ubar` [N, *F]."""


class Slopes(Protocol):
    """A slope for each time step, asked for once per step, in the order of time and before any backward pass."""

    def at(self, t: int, u: Tensor, *, threshold: float) -> Slope:
        """The slope of step `t`, given the membrane `u` [N, *F] that decides its spikes (without a graph)."""


class Surrogate(Choice):
    """A smooth stand-in for the derivative of the Heaviside step."""

    def at(self, t: int, u: Tensor, *, threshold: float) -> Slope:  # noqa: ARG002
        """Itself: one surrogate for all time steps, whatever the membrane."""
        return self

    @abstractmethod
    def derivative(self, ubar: Tensor) -> Tensor:
        """h(ubar), elementwise, the shape of `ubar`."""

    @abstractmethod
    def primitive(self, ubar: Tensor) -> Tensor:
        """An antiderivative of h: the smooth step whose derivative `derivative` is."""

    @property
    @abstractmethod
    def window(self) -> float:
        """Half width of the interval around the threshold that lets gradient through, in units of `u`.

        The support where it is bounded; otherwise where h falls to a tenth of its peak.
        """


@final
class Triangle(Surrogate, kind="triangle"):
    """h = max(gamma - |ubar|, 0) / gamma^2. The RAT family's and both seeds' default, gamma = 1."""

    gamma: PositiveFloat = 1.0

    def derivative(self, ubar: Tensor) -> Tensor:
        return ubar.abs().neg_().add_(self.gamma).clamp_min_(0).mul_(1 / self.gamma**2)

    def primitive(self, ubar: Tensor) -> Tensor:
        z = (ubar / self.gamma).clamp(-1, 1)
        return 0.5 + z - 0.5 * z * z.abs()

    @property
    def window(self) -> float:
        return self.gamma


@final
class Rectangular(Surrogate, kind="rectangular"):
    """h = 1/width where |ubar| < width / 2. SOURCE: Wu 2019, width = 1."""

    width: PositiveFloat = 1.0

    def derivative(self, ubar: Tensor) -> Tensor:
        size = ubar.abs()
        return torch.lt(size, self.width / 2, out=size).mul_(1 / self.width)

    def primitive(self, ubar: Tensor) -> Tensor:
        return (ubar / self.width + 0.5).clamp(0, 1)

    @property
    def window(self) -> float:
        return self.width / 2


@final
class Sigmoid(Surrogate, kind="sigmoid"):
    """h = alpha sig(alpha ubar) (1 - sig(alpha ubar)); alpha = 4 as in SpikingJelly and SR."""

    alpha: PositiveFloat = 4.0

    def derivative(self, ubar: Tensor) -> Tensor:
        s = torch.sigmoid(self.alpha * ubar)
        return s * (1 - s) * self.alpha

    def primitive(self, ubar: Tensor) -> Tensor:
        return torch.sigmoid(self.alpha * ubar)

    @property
    def window(self) -> float:
        return 2 * math.acosh(math.sqrt(10)) / self.alpha


@final
class SuperSpike(Surrogate, kind="superspike"):
    """h = 1 / (1 + beta |ubar|)^2. SOURCE: Zenke & Ganguli 2018; beta = 10 in units of the threshold."""

    beta: PositiveFloat = 10.0

    def derivative(self, ubar: Tensor) -> Tensor:
        return ubar.abs().mul_(self.beta).add_(1).pow_(-2)

    def primitive(self, ubar: Tensor) -> Tensor:
        return ubar / (1 + self.beta * ubar.abs())

    @property
    def window(self) -> float:
        return (math.sqrt(10) - 1) / self.beta


@final
class ATan(Surrogate, kind="atan"):
    """h = (alpha / 2) / (1 + (pi/2 alpha ubar)^2). SOURCE: Fang 2021, alpha = 2."""

    alpha: PositiveFloat = 2.0

    def derivative(self, ubar: Tensor) -> Tensor:
        return atan_slope(ubar, self.alpha)

    def primitive(self, ubar: Tensor) -> Tensor:
        return torch.atan(math.pi / 2 * self.alpha * ubar) / math.pi + 0.5

    @property
    def window(self) -> float:
        return 3 * 2 / (math.pi * self.alpha)


def atan_slope(ubar: Tensor, alpha: float | Tensor) -> Tensor:
    """h of `ATan`; `alpha` may differ from element to element."""
    return (ubar * (math.pi / 2 * alpha)).square_().add_(1).reciprocal_().mul_(alpha / 2)


@final
class Gaussian(Surrogate, kind="gaussian"):
    """h = exp(-ubar^2 / (2 sigma^2)) / (sigma sqrt(2 pi)). SOURCE: Wu 2018 (STBP); sigma = 0.5 as in Yin 2021."""

    sigma: PositiveFloat = 0.5

    def derivative(self, ubar: Tensor) -> Tensor:
        peak = 1 / (self.sigma * math.sqrt(2 * math.pi))
        return ubar.square().mul_(-0.5 / self.sigma**2).exp_().mul_(peak)

    def primitive(self, ubar: Tensor) -> Tensor:
        step: Tensor = torch.special.ndtr(ubar / self.sigma)
        return step

    @property
    def window(self) -> float:
        return self.sigma * math.sqrt(2 * math.log(10))


@final
class Exponential(Surrogate, kind="exponential"):
    """h = alpha exp(-beta |ubar|). SOURCE: METHODS 1.3, alpha = 1; beta = 2, so that the area 2 alpha / beta is 1."""

    alpha: PositiveFloat = 1.0
    beta: PositiveFloat = 2.0

    def derivative(self, ubar: Tensor) -> Tensor:
        return ubar.abs().mul_(-self.beta).exp_().mul_(self.alpha)

    def primitive(self, ubar: Tensor) -> Tensor:
        # expm1: close to 0 the difference 1 - exp would lose its digits
        return 0.5 - ubar.sign() * torch.expm1(-self.beta * ubar.abs()) * (self.alpha / self.beta)

    @property
    def window(self) -> float:
        return math.log(10) / self.beta


@final
class Dspike(Surrogate, kind="dspike"):
    """h = D'(ubar + 1/2), where D(x) = (tanh(b (x - 1/2)) + tanh(b / 2)) / (2 tanh(b / 2)) on [0, 1]; 0 outside.

    The larger the temperature b, the closer D is to a step; for b to 0 it is a ramp. SOURCE: Li 2021 (Dspike), b = 3.
    """

    b: PositiveFloat = 3.0

    def derivative(self, ubar: Tensor) -> Tensor:
        inside = ubar.abs().le(0.5).to(ubar.dtype)
        return inside.mul_(self.b / (2 * math.tanh(self.b / 2))).div_((self.b * ubar).cosh_().square_())

    def primitive(self, ubar: Tensor) -> Tensor:
        return dspike(ubar, ubar.new_tensor(self.b))

    @property
    def window(self) -> float:
        return 0.5


def dspike(ubar: Tensor, b: Tensor) -> Tensor:
    """D(ubar + 1/2) of `Dspike`, continued by 0 and 1, differentiable in both arguments."""
    return 0.5 + 0.5 * torch.tanh(b * ubar.clamp(-0.5, 0.5)) / torch.tanh(b / 2)


DEFAULT_SURROGATE = Triangle()
"""The surrogate of a neuron that names none."""
