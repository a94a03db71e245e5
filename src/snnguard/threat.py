"""What the attacker may do: a norm, a radius in raw input units, and the valid range of the images."""

import math
from abc import abstractmethod
from typing import Self, final

import torch
from pydantic import Field, model_validator
from torch import Tensor

from snnguard import rng
from snnguard.choice import Choice
from snnguard.errors import InvalidInput


class Threat(Choice):
    """A ball of radius `eps` around each image, cut by the valid range [`low`, `high`].

    Images are `[N, *F]` in the data set's own units (normally [0, 1]); `eps` is in the same units, e.g. 8 / 255.
    """

    eps: float = Field(ge=0)
    low: float = 0.0
    high: float = 1.0

    @model_validator(mode="after")
    def _range_is_not_empty(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"the valid range is empty: low={self.low}, high={self.high}")
        return self

    @abstractmethod
    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Distance per sample, [N]."""

    @abstractmethod
    def shrink(self, delta: Tensor) -> Tensor:
        """The nearest perturbation of norm at most `eps`."""

    @abstractmethod
    def sample(self, x: Tensor, seed: int) -> Tensor:
        """A random point of the ball around each image, cut to the range; the same for an image in any batch."""

    @abstractmethod
    def ascent(self, gradient: Tensor) -> Tensor:
        """The direction of unit norm along which a linear loss rises most; zero where the gradient is zero."""

    @final
    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Back into the ball, then into the range (the range contains `x`, so the ball is not left again)."""
        return self.clip(x + self.shrink(x_adv - x))

    @final
    def clip(self, x: Tensor) -> Tensor:
        """Into the valid range."""
        return x.clamp(self.low, self.high)

    @final
    def contains(self, x_adv: Tensor, x: Tensor, *, atol: float = 1e-6) -> Tensor:
        """Whether each sample lies in ball and range, bool [N]."""
        flat = x_adv.flatten(1)
        inside = ((flat >= self.low - atol) & (flat <= self.high + atol)).all(1)
        return inside & (self.distance(x_adv, x) <= self.eps + atol)

    @final
    def check(self, x: Tensor) -> None:
        """Raises `InvalidInput` unless `x` is a floating batch of finite images within the range."""
        if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim < 2:
            found = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise InvalidInput(f"images must be a floating-point tensor [N, ...], found {found}")
        if x.numel() == 0:
            return
        if not torch.isfinite(x).all():
            bad = int((~torch.isfinite(x.flatten(1)).all(1)).sum())
            raise InvalidInput(f"{bad} of {len(x)} images contain NaN or infinity; remove or repair them first")
        low, high = float(x.min()), float(x.max())
        if low < self.low - 1e-6 or high > self.high + 1e-6:
            raise InvalidInput(
                f"images must lie in [{self.low}, {self.high}], found [{low:.4g}, {high:.4g}]; scale them "
                "(uint8 / 255), or state their range in the threat (low=..., high=...); normalisation is the model's"
            )


@final
class Linf(Threat, kind="linf"):
    """Every pixel may change by at most `eps`."""

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        return (x_adv - x).flatten(1).abs().amax(1) if x.numel() else x.new_zeros(len(x))

    def shrink(self, delta: Tensor) -> Tensor:
        return delta.clamp(-self.eps, self.eps)

    def sample(self, x: Tensor, seed: int) -> Tensor:
        return self.clip(x + self.eps * (2 * rng.uniform(x, seed) - 1))

    def ascent(self, gradient: Tensor) -> Tensor:
        return gradient.sign()


@final
class L2(Threat, kind="l2"):
    """The Euclidean length of each image's perturbation is at most `eps`."""

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        return _lengths(x_adv - x)

    def shrink(self, delta: Tensor) -> Tensor:
        length = _per_sample_norm(delta)
        return torch.where(length > self.eps, delta * (self.eps / length.clamp_min(1e-30)), delta)

    def sample(self, x: Tensor, seed: int) -> Tensor:
        # Uniform in the ball: a uniform direction, and a radius whose d-th power is uniform.
        dimensions = max(1, math.prod(x.shape[1:]))
        direction = self.ascent(rng.normal(x, seed))
        share = rng.uniform(x, rng.derive(seed, "radius")).flatten(1)[:, 0] ** (1 / dimensions)
        return self.clip(x + self.eps * direction * share.reshape(-1, *[1] * (x.ndim - 1)))

    def ascent(self, gradient: Tensor) -> Tensor:
        if gradient.numel() == 0:
            return torch.zeros_like(gradient)
        # Scaled by the largest entry first: the squares of a confident model's gradient (1e-25 and less) vanish in float32.
        peak = gradient.abs().amax(tuple(range(1, gradient.ndim)), keepdim=True)
        scaled = gradient / peak
        return torch.where(peak > 0, scaled / _per_sample_norm(scaled), torch.zeros_like(gradient))


def _per_sample_norm(x: Tensor) -> Tensor:
    """Euclidean norm of each sample, shaped to broadcast against `x`."""
    return _lengths(x).reshape(-1, *[1] * (x.ndim - 1))


def _lengths(x: Tensor) -> Tensor:
    """Euclidean norm of each sample, [N]."""
    lengths: Tensor = torch.linalg.vector_norm(x.flatten(1), dim=1)
    return lengths
