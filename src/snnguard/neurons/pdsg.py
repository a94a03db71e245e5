"""Potential-dependent surrogate gradients: each channel's surrogate is as wide as its membrane is spread."""

import math
from collections.abc import Sequence
from typing import NamedTuple, final

import torch
from pydantic import Field
from torch import Tensor

from .drawn import Noise
from .dynamics import Dynamics
from .rule import GradientRule, run
from .surrogate import Surrogate
from .trait import Mechanism
from .watch import Membrane, Watch

FLAT = 1e-6
"""A standard deviation below this share of the threshold is rounding: the membrane is constant."""


@final
class PDSG(GradientRule, kind="pdsg"):
    """Backpropagation through time with h = N(ubar; mean `shift` sigma, standard deviation sigma).

    sigma[t] is the standard deviation (unbiased) of the membrane over the steps up to t and over the pixels, one for each
    sample and channel; a layer without space, [N, F] or [N, F, 1, 1], takes all its features together. Where the membrane
    is constant sigma is the threshold. The membrane is that which decides the spike, with the noise of a noisy neuron.
    SOURCE: Lun 2025 (arXiv 2503.03272) and its code; shift 0.5 is theirs.
    DEVIATION: they take sigma over the batch as well, so that a gradient depends on its neighbours; here every sample has
    its own. DEVIATION: where the membrane is constant they take 1, which is their threshold.
    """

    shift: float = Field(default=0.5, ge=0)

    def spikes(
        self,
        current: Tensor,
        *,
        steps: int,
        dynamics: Dynamics,
        surrogate: Surrogate,  # noqa: ARG002
        watch: Watch | None = None,
        noise: Noise | None = None,
        leak: Tensor | None = None,
        inside: Sequence[Mechanism] = (),
    ) -> tuple[Tensor, Membrane | None]:
        return run(
            current, inside, own=False, steps=steps, surrogate=_Spread(self.shift), watch=watch, noise=noise, leak=leak,
            **dynamics.constants(),
        )  # fmt: skip


class _Spread:
    """Mean and sum of squared deviations of a layer's membrane so far, merged step by step (Chan's formula)."""

    def __init__(self, shift: float) -> None:
        self.shift = shift
        self.origin: Tensor | None = None
        self.mean: float | Tensor = 0.0
        self.squares: float | Tensor = 0.0

    def at(self, t: int, u: Tensor, *, threshold: float) -> "_Normal":
        over = list(range(2 if math.prod(u.shape[2:]) > 1 else 1, u.ndim))
        each = math.prod(u.shape[dim] for dim in over)
        if self.origin is None:
            # Counted from one of the values, a constant membrane has no spread at all, whatever its size.
            self.origin = u[tuple(slice(1) if dim in over else slice(None) for dim in range(u.ndim))].clone()
        from_origin = u - self.origin
        mean = from_origin.mean(over, keepdim=True)
        ahead = mean - self.mean
        squares = from_origin.sub_(mean).square_().sum(over, keepdim=True)
        self.squares = squares + self.squares + ahead.square() * (each * t / (t + 1))
        self.mean = self.mean + ahead / (t + 1)
        sigma = (self.squares / max(each * (t + 1) - 1, 1)).sqrt_()
        return _Normal(torch.where(sigma > FLAT * threshold, sigma, threshold), self.shift)


class _Normal(NamedTuple):
    """The normal density of mean `shift` sigma and standard deviation sigma [N, C, 1, 1]."""

    sigma: Tensor
    shift: float

    def derivative(self, ubar: Tensor) -> Tensor:
        z = (ubar / self.sigma).sub_(self.shift)
        return z.square_().mul_(-0.5).exp_().div_(self.sigma * math.sqrt(2 * math.pi))
