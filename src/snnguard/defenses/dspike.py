"""Dspike: a surrogate whose temperature follows the finite-difference gradient."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Self, final

import torch
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor, nn
from torch.func import functional_call

from snnguard import rng
from snnguard.attacks import Aim, CrossEntropy, weight_gradient
from snnguard.layers import untracked
from snnguard.networks import Network
from snnguard.neurons import mechanisms_of
from snnguard.neurons.temperature import DspikeFiring, Temperature

from .defense import Batch, Defense, Step

LOSS = CrossEntropy()


@final
class Dspike(Defense, kind="dspike"):
    """In each new epoch b becomes that one of b, b - change, b + change whose gradient points most along a measured one.

    For random unit directions d_k in the first weight tensor w, (L(w + h d_k) - L(w - h d_k)) / (2 h), h = reach * ||w||,
    measures the slope of the loss on the epoch's first batch, which no surrogate enters; the surrogate gradient says
    <g_b, d_k>. The b in [low, high] with the largest cosine between these two vectors wins, in all layers; the old one
    where nothing can be measured. `change=0` keeps b as it is: a fixed surrogate. There is no strength.
    SOURCE: Li 2021 (Dspike), b = 3. DEVIATION: the paper moves the weights of the first layer one by one; a few random
    directions estimate the same cosine. `change`, the range of b, `directions` and `reach` are ours.
    """

    changes: ClassVar[str] = "neuron"
    source: ClassVar[str] = "Li et al., NeurIPS 2021 (Dspike)"

    b: PositiveFloat = 3.0
    change: float = Field(default=0.25, ge=0)
    low: PositiveFloat = 1.0
    high: PositiveFloat = 5.0
    directions: int = Field(default=16, ge=2)
    reach: PositiveFloat = 0.1

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low <= self.b <= self.high:
            raise ValueError(f"a temperature of {self.b} does not lie within [{self.low}, {self.high}]")
        return self

    def design(self, network: Network) -> Network:
        return network.having(DspikeFiring(b=self.b))

    def prepare(self, model: nn.Module, batch: Batch, step: Step) -> None:
        layers = mechanisms_of(model, Temperature)
        if not layers or not step.new_epoch or self.change == 0:
            return
        best = float(layers[0].b)
        candidates = (best, max(best - self.change, self.low), min(best + self.change, self.high))
        closest = -math.inf
        seed = rng.derive(step.seed, "dspike")
        units = unit_directions(first_weight(model)[1], count=self.directions, seed=seed)
        measured = measured_slopes(model, batch, units, reach=self.reach, seed=seed)
        for b in candidates:
            set_temperature(model, b=b)
            near = agreement(measured, surrogate_slopes(model, batch, units, seed=seed))
            if near > closest:
                best, closest = b, near
        set_temperature(model, b=best)


def set_temperature(model: nn.Module, *, b: float) -> None:
    """The same temperature in all layers."""
    for layer in mechanisms_of(model, Temperature):
        layer.b.fill_(b)


def first_weight(model: nn.Module) -> tuple[str, Tensor]:
    """The weights of the first layer that has any, with their name; vectors such as biases do not count."""
    return next((name, parameter) for name, parameter in model.named_parameters() if parameter.ndim > 1)


def unit_directions(weight: Tensor, *, count: int, seed: int) -> Tensor:
    """Unit directions [count, *weight.shape], uniform on the sphere."""
    drawn = torch.randn(count, weight.numel(), generator=torch.Generator().manual_seed(seed))
    units: Tensor = drawn / drawn.norm(dim=1, keepdim=True)
    return units.to(weight).reshape(count, *weight.shape)


@torch.no_grad()
def measured_slopes(model: nn.Module, batch: Batch, units: Tensor, *, reach: float, seed: int) -> Tensor:
    """Central differences [K] of the loss along `units` [K, *weight.shape], a way of `reach` * ||weight|| to each side."""
    name, weight = first_weight(model)
    h = reach * weight.norm()

    def loss(moved: Tensor) -> Tensor:
        # Put in the weight's place, not written into it: what is never changed need not be restored.
        with _alike(model, batch, seed):
            logits = functional_call(model, {name: moved}, (batch.x,))
            return LOSS(logits, Aim(batch.y)).double().mean()

    return torch.stack([(loss(weight + h * unit) - loss(weight - h * unit)) / (2 * h) for unit in units])


def surrogate_slopes(model: nn.Module, batch: Batch, units: Tensor, *, seed: int) -> Tensor:
    """What backpropagation says about the same slopes, [K]."""
    with _alike(model, batch, seed):
        (gradient,) = weight_gradient(model, batch.x, batch.y, [first_weight(model)[1]], LOSS)
    return (units * gradient).flatten(1).double().sum(1)


def agreement(a: Tensor, b: Tensor) -> float:
    """The cosine between two vectors; 0 where one of them is 0 or not finite."""
    cosine = float(a @ b / (a.norm() * b.norm()))
    return cosine if math.isfinite(cosine) else 0.0


@contextmanager
def _alike(model: nn.Module, batch: Batch, seed: int) -> Iterator[None]:
    """Passes that see the same random numbers, in full precision, and leave no trace in statistics and generators."""
    with untracked(model), rng.scope(seed), torch.autocast(batch.x.device.type, enabled=False):
        yield
