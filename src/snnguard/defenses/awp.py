"""AWP: each step is taken from weights that were moved where the loss is higher."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor, nn

from snnguard import rng
from snnguard.attacks import CrossEntropy, weight_gradient
from snnguard.layers import untracked
from snnguard.threat import L2

from .defense import Batch, Defense, Step


@final
class AWP(Defense, kind="awp"):
    """The gradient of a step is that at W + gamma * ||W|| * G / ||G||, G = dCE(x, y)/dW, for every weight matrix and kernel.

    x are the step's training images: the adversarial ones where another part makes them, whatever its place in the stack.
    Biases, normalisation and a neuron's own parameters are not moved, nor is a weight whose gradient is zero. `start` is the
    share of training before which it does nothing; `gamma` 0 is plain training. SOURCE: Wu 2020, gamma 5e-3, one step.
    DEVIATION: G is of the cross-entropy, also where the objective is another; the weights come back from a copy and before
    the optimiser's step, so that they have the same bits and weight decay sees them, not the moved ones.
    """

    changes: ClassVar[str] = "weights"
    source: ClassVar[str] = "Wu et al., NeurIPS 2020 (AWP)"

    gamma: float = Field(default=5e-3, ge=0)
    start: float = Field(default=0.0, ge=0, le=1)

    @contextmanager
    def around(self, model: nn.Module, batch: Batch, step: Step) -> Iterator[None]:
        weights = movable(model) if self.gamma and step.progress >= self.start else []
        if not weights:
            yield
            return
        with untracked(model), rng.scope(rng.derive(step.seed, "awp")):
            gradients = weight_gradient(model, batch.x, batch.y, weights, CrossEntropy())
        saved = [weight.detach().clone() for weight in weights]
        try:
            with torch.no_grad():
                for weight, gradient in zip(weights, gradients, strict=True):
                    weight.add_(self.gamma * weight.norm() * unit(gradient))
            yield
        finally:
            with torch.no_grad():
                for weight, before in zip(weights, saved, strict=True):
                    weight.copy_(before)


def movable(model: nn.Module) -> list[nn.Parameter]:
    """The trained weights of convolutions and linear layers: parameters called `weight` with two or more dimensions."""
    named = model.named_parameters()
    return [p for name, p in named if name.rpartition(".")[2] == "weight" and p.ndim >= 2 and p.requires_grad]


def unit(gradient: Tensor) -> Tensor:
    """G / ||G||, zero where G is; safe for gradients whose squares vanish in float32."""
    return L2(eps=0).ascent(gradient[None])[0]
