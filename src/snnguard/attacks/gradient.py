"""The input gradient: the only door from an attack to autograd."""

from collections.abc import Sequence
from typing import NamedTuple, final

import torch
from pydantic import Field
from torch import Tensor

from snnguard.choice import Choice
from snnguard.neurons import GradientRule, use_rule

from .loss import CrossEntropy, Loss
from .model import Model, check_labels


class Ascent(NamedTuple):
    """Averages over the draws: per-sample loss [N], logits [N, K], gradient like the images."""

    loss: Tensor
    logits: Tensor
    gradient: Tensor


@final
class InputGradient(Choice):
    """Gradient of a loss with respect to raw images, under a gradient rule, averaged over `draws` forward passes.

    `rule` None keeps the model's own rule (BPTT with the surrogate it was trained with). The loss is summed over the
    batch, so a sample's gradient does not know its neighbours. Averaging gradients (not logits) over draws is what
    Athalye 2018 calls expectation over transformation.
    """

    loss: Loss = CrossEntropy()
    rule: GradientRule | None = None
    draws: int = Field(default=1, ge=1)

    def __call__(self, model: Model, x: Tensor, y: Tensor, *, targeted: bool = False) -> Ascent:
        total: Ascent | None = None
        for _ in range(self.draws):
            one = self._once(model, x, y, targeted)
            total = one if total is None else Ascent(*(a + b for a, b in zip(total, one, strict=True)))
        assert total is not None
        return total if self.draws == 1 else Ascent(*(part / self.draws for part in total))

    def _once(self, model: Model, x: Tensor, y: Tensor, targeted: bool) -> Ascent:
        x = x.detach().requires_grad_()
        with torch.enable_grad(), rule_on(model, self.rule):
            logits = model(x)
            check_labels(x, y, logits.shape[1])
            loss = self.loss(logits.float() if logits.dtype != torch.float64 else logits, y, targeted=targeted)
            gradient = torch.zeros_like(x)
            if loss.requires_grad:  # else the model has cut the graph: no gradient at all, which `evaluate` reports
                (gradient,) = torch.autograd.grad(loss.sum(), x, allow_unused=True, materialize_grads=True)
        return Ascent(loss.detach(), logits.detach(), gradient)


def rule_on(model: Model, rule: GradientRule | None):  # type: ignore[no-untyped-def]
    """`use_rule` for anything that can be called; a plain function has no neurons and takes no rule."""
    return use_rule(model if isinstance(model, torch.nn.Module) else torch.nn.Module(), rule)


def weight_gradient(
    model: torch.nn.Module, x: Tensor, y: Tensor, parameters: Sequence[Tensor], loss: Loss
) -> list[Tensor]:  # fmt: skip
    """Gradient of the mean loss with respect to `parameters`, in the model's own mode; nothing is accumulated."""
    with torch.enable_grad():
        total = loss(model(x), y, targeted=False).mean()
        return list(torch.autograd.grad(total, list(parameters), allow_unused=True, materialize_grads=True))
