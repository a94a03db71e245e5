"""Random noise, with no regard for the model: the floor that every attack must beat."""

from typing import final

from pydantic import Field
from torch import Tensor

from snnguard import rng
from snnguard.threat import Threat

from .aim import Aim
from .attack import Attack
from .model import Model


@final
class GaussianNoise(Attack, kind="gaussian"):
    """x + N(0, std^2), clipped to the range; not bounded by eps. SOURCE: METHODS 6.13, std 0.1."""

    std: float = Field(default=0.1, ge=0)

    @property
    def bounded(self) -> bool:
        return False

    def run(self, model: Model, x: Tensor, aim: Aim, threat: Threat, seed: int) -> Tensor:  # noqa: ARG002
        return threat.clip(x + self.std * rng.normal(x, rng.derive(seed, "noise")))


@final
class UniformNoise(Attack, kind="uniform"):
    """x + U(-radius, radius), clipped to the range; not bounded by eps. SOURCE: METHODS 6.13, radius 0.1."""

    radius: float = Field(default=0.1, ge=0)

    @property
    def bounded(self) -> bool:
        return False

    def run(self, model: Model, x: Tensor, aim: Aim, threat: Threat, seed: int) -> Tensor:  # noqa: ARG002
        return threat.clip(x + self.radius * (2 * rng.uniform(x, rng.derive(seed, "noise")) - 1))
