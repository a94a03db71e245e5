"""The input gradient: the only door from an attack to autograd."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, final

import torch
from pydantic import Field
from torch import Tensor

from snnguard.choice import Choice
from snnguard.neurons import GradientRule, Memory, use_rule

from .aim import Aim
from .loss import CrossEntropy, Loss
from .model import Model, check_labels
from .pieces import Pieces


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

    def begin(self, model: Model, size: int) -> "Gradients":
        """The gradients of one run of an attack over `size` samples."""
        return Gradients(self, model, size)

    def __call__(self, model: Model, x: Tensor, aim: Aim | Tensor) -> Ascent:
        """At the images `x` [N, *F]; plain labels are classes to leave."""
        return self.begin(model, len(x))(x, aim if isinstance(aim, Aim) else Aim(aim))


class Gradients:
    """The gradients of one run: what the rule remembers of a sample stays with that sample as others leave the batch."""

    def __init__(self, settings: InputGradient, model: Model, size: int) -> None:
        self.settings, self.model = settings, model
        self.memory = Memory(size)
        self.pieces = Pieces()
        self.checked = False

    def __call__(self, x: Tensor, aim: Aim, rows: Tensor | None = None) -> Ascent:
        """At the images `x` [n, *F]; `rows` [n] says which samples of the run these are (None: all of them, in order)."""

        def work(piece: slice) -> Ascent:
            if piece == slice(0, len(x)):
                return self._averaged(x, aim, rows)
            here = torch.arange(len(x), device=x.device)[piece]
            return self._averaged(x[piece], aim[here], here if rows is None else rows[piece])

        if isinstance(self.model, torch.nn.Module) and any(module.training for module in self.model.modules()):
            parts = [work(slice(0, len(x)))]  # where samples share their statistics there is no smaller piece
        else:
            parts = self.pieces(len(x), work)
        self.checked = True  # the labels of a run stay what they are; to look at them is to wait for the device
        return parts[0] if len(parts) == 1 else Ascent(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def _averaged(self, x: Tensor, aim: Aim, rows: Tensor | None) -> Ascent:
        total: Ascent | None = None
        remembered = self.memory.remembered()
        try:
            for draw in range(self.settings.draws):
                one = self._once(x, aim, self.memory.about(rows, learns=draw == 0))
                total = one if total is None else Ascent(*(a + b for a, b in zip(total, one, strict=True)))
        except BaseException:
            self.memory.go_back_to(remembered)
            raise
        assert total is not None
        return total if self.settings.draws == 1 else Ascent(*(part / self.settings.draws for part in total))

    def _once(self, x: Tensor, aim: Aim, memory: Memory) -> Ascent:
        x = x.detach().requires_grad_()
        with torch.enable_grad(), rule_on(self.model, self.settings.rule, memory):
            logits = self.model(x)
            if not self.checked:
                check_labels(x, aim.leave, logits.shape[1])
            loss = self.settings.loss(logits.float() if logits.dtype != torch.float64 else logits, aim)
            gradient = torch.zeros_like(x)
            if loss.requires_grad:  # else the model has cut the graph: no gradient at all, which `evaluate` reports
                (gradient,) = torch.autograd.grad(loss.sum(), x, allow_unused=True, materialize_grads=True)
        return Ascent(loss.detach(), logits.detach(), gradient)


def rule_on(model: Model, rule: GradientRule | None, memory: Memory | None = None) -> AbstractContextManager[None]:
    """`use_rule` for anything that can be called; a plain function has no neurons and takes no rule."""
    return use_rule(model if isinstance(model, torch.nn.Module) else torch.nn.Module(), rule, memory=memory)


def weight_gradient(
    model: torch.nn.Module, x: Tensor, y: Tensor, parameters: Sequence[Tensor], loss: Loss
) -> list[Tensor]:  # fmt: skip
    """Gradient of the mean loss with respect to `parameters`, in the model's own mode; nothing is accumulated."""
    with torch.enable_grad():
        total = loss(model(x), Aim(y)).mean()
        return list(torch.autograd.grad(total, list(parameters), allow_unused=True, materialize_grads=True))
