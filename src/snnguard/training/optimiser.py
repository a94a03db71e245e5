"""Optimisers and the learning-rate schedule, the latter a pure function of the share of training that is done."""

import math
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Self, final

import torch
from pydantic import Field, PositiveFloat, model_validator
from torch import nn

from snnguard.choice import Choice
from snnguard.defenses.defense import Group


class Optimiser(Choice):
    """Settings of a PyTorch optimiser."""

    learning_rate: PositiveFloat
    weight_decay: float

    @abstractmethod
    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """The optimiser for parameter groups in PyTorch's form."""

    @final
    def over(self, model: nn.Module, groups: Sequence[Group]) -> torch.optim.Optimizer:
        """The optimiser of a whole model: each parameter once, first group wins, the rest with the defaults."""
        taken: set[int] = set()
        made: list[dict[str, Any]] = []
        for group in groups:
            decay = self.weight_decay if group.weight_decay is None else group.weight_decay
            made.append(self._group(group.parameters, taken, decay, group.learning_rate_scale))
        made.append(self._group(model.parameters(), taken, self.weight_decay, 1.0))
        optimiser = self.build([group for group in made if group["params"]])
        if any(group.get("fused") for group in optimiser.param_groups):
            optimiser.register_step_pre_hook(_made_ready)
        return optimiser

    def _group(self, parameters: Iterable[nn.Parameter], taken: set[int], decay: float, scale: float) -> dict[str, Any]:
        fresh = [p for p in parameters if id(p) not in taken]
        taken.update(map(id, fresh))
        return {"params": fresh, "weight_decay": decay, "lr": self.learning_rate * scale, "scale": scale}


@final
class SGD(Optimiser, kind="sgd"):
    """Stochastic gradient descent with momentum. SOURCE: METHODS 4.1, the recipe of the RAT family."""

    learning_rate: PositiveFloat = 0.1
    weight_decay: float = Field(default=5e-4, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov=true needs a momentum above 0")
        return self

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        settings: dict[str, Any] = {"momentum": self.momentum, "nesterov": self.nesterov, "fused": _fused(groups)}
        return torch.optim.SGD(groups, lr=self.learning_rate, **settings)


@final
class AdamW(Optimiser, kind="adamw"):
    """Adam with decoupled weight decay. SOURCE: Loshchilov & Hutter 2019."""

    learning_rate: PositiveFloat = 1e-3
    weight_decay: float = Field(default=1e-2, ge=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(groups, lr=self.learning_rate, betas=(self.beta1, self.beta2), fused=_fused(groups))


def _fused(groups: Sequence[dict[str, Any]]) -> bool | None:
    """One pass over the weights in place of several, on a CPU; elsewhere, and for weights with gaps, PyTorch chooses (None)."""
    weights = [weight for group in groups for weight in group["params"]]
    dense = torch.ops.aten.is_non_overlapping_and_dense
    return all(w.device.type == "cpu" and w.is_floating_point() and dense(w) for w in weights) or None


def _made_ready(optimiser: torch.optim.Optimizer, *_: object) -> None:
    """Makes up for what the fused step takes for granted: that gradients and state lie in memory in the order of their weights
    (those of a file may not), and that all weights had their first gradient in the same step."""
    for group in optimiser.param_groups:
        begun = any("momentum_buffer" in optimiser.state.get(weight, {}) for weight in group["params"])
        for weight in (weight for weight in group["params"] if weight.grad is not None):
            if weight.grad.stride() != weight.stride():
                weight.grad = torch.empty_like(weight).copy_(weight.grad)
            kept = optimiser.state[weight] if begun or weight in optimiser.state else {}
            if begun and "momentum_buffer" not in kept:
                kept["momentum_buffer"] = torch.zeros_like(weight)
            for name, value in kept.items():
                if isinstance(value, torch.Tensor) and value.shape == weight.shape and value.stride() != weight.stride():
                    kept[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)


def learning_rate_share(progress: float, warmup: float, final: float) -> float:
    """Share of the peak learning rate at `progress` in [0, 1]: linear up to `warmup`, then a cosine down to `final`."""
    if progress < warmup:
        return progress / warmup
    rest = (progress - warmup) / (1 - warmup) if warmup < 1 else 1.0
    return final + (1 - final) * (1 + math.cos(math.pi * rest)) / 2
