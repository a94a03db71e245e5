"""Random numbers that belong to the image: whatever the batch, an image meets the same ones."""

from collections.abc import Callable

import torch
from torch import Tensor

from snnguard import rng


class Dice:
    """One generator per image of `x` [N, *F], seeded by `seed` and the image; each call draws on. All float64, on the CPU."""

    def __init__(self, x: Tensor, seed: int) -> None:
        self._generators = rng.per_sample(x, seed)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal, [N, *shape]."""
        return self._draw(torch.randn, shape)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform in [0, 1), [N, *shape]."""
        return self._draw(torch.rand, shape)

    def poisson(self, rate: Tensor) -> Tensor:
        """Poisson counts of the given rates, like `rate` [N, *F]."""
        return torch.stack([torch.poisson(r, generator=g) for r, g in zip(rate, self._generators, strict=True)])

    def _draw(self, sampler: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        return torch.stack([sampler(shape, generator=g, dtype=torch.float64) for g in self._generators])
