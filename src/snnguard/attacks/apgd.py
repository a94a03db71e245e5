"""Auto-PGD: projected gradient ascent that finds its own step sizes."""

from typing import Self, final

import torch
from pydantic import Field, model_validator
from torch import Tensor

from snnguard import rng
from snnguard.threat import Threat

from .aim import Aim
from .attack import Attack
from .gradient import Gradients, InputGradient
from .model import Model


@final
class APGD(Attack, kind="apgd"):
    """z = project(x + eta ascent(g)), then x <- project(x + momentum (z - x) + (1 - momentum) (x - previous x)).

    eta begins at 2 eps. At checkpoints (`checkpoints`) a sample's eta is halved, and it goes on from the best point that it
    has seen, if fewer than `rho` of its steps since the last checkpoint raised the loss, or if since then neither its eta
    nor its best loss has changed. Everything is per sample, so results do not depend on the batch.

    Returned is, per sample, the misclassified point of highest loss, or if there was none the point of highest loss. With
    `gradient.draws` > 1 the model counts as random: one look proves no success there, so it is the point of highest loss
    (averaged over the draws), and the judge decides. `restarts` are runs from different random starts; a later one sees
    only what the earlier ones did not break. `early_stop` ends a sample's run at its first success; it has no effect where
    one look proves none. The loss is that of `gradient`: CrossEntropy or DLR, in AutoAttack.
    SOURCE: Croce & Hein 2020, algorithm 1 and section 4; all defaults are theirs.
    DEVIATION: rises are counted from the loss of the first point on; the published code compares the first one with zero.
    Take 50 steps or more: with fewer the checkpoints come too soon after each other, and plain PGD is often stronger.
    """

    steps: int = Field(default=100, ge=1)
    momentum: float = Field(default=0.75, gt=0, le=1)
    rho: float = Field(default=0.75, gt=0, le=1)
    restarts: int = Field(default=1, ge=1)
    random_start: bool = True
    early_stop: bool = False
    gradient: InputGradient = InputGradient()

    @model_validator(mode="after")
    def _restarts_differ(self) -> Self:
        if self.restarts > 1 and not self.random_start:
            raise ValueError("restarts > 1 need random_start, else each run begins at the same point")
        return self

    def run(self, model: Model, x: Tensor, aim: Aim, threat: Threat, seed: int) -> Tensor:
        found, fallen = x.clone(), torch.zeros(len(x), dtype=torch.bool, device=x.device)
        highest = torch.full((len(x),), -torch.inf, dtype=torch.float64, device=x.device)
        for restart in range(self.restarts):
            left = (~fallen).nonzero().flatten()
            if len(left) == 0:
                break
            start = threat.sample(x[left], rng.derive(seed, "start", restart)) if self.random_start else x[left]
            point, loss, won = self._climb(model, start, x[left], aim[left], threat)
            better = won | (loss > highest[left])
            found[left[better]], highest[left[better]] = point[better], loss[better]
            fallen[left] = won
        return found

    def _climb(
        self, model: Model, at: Tensor, x: Tensor, aim: Aim, threat: Threat
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """One run from the points `at`: the point kept per sample, its loss, and whether it is misclassified."""
        everyone = torch.ones(len(x), dtype=torch.bool, device=x.device)
        ask = self.gradient.begin(model, len(x))
        loss, gradient, won = self._look(ask, at, aim, everyone)
        before, best, best_loss, best_gradient = at, at, loss, gradient
        kept, kept_loss, fallen = at, loss, won
        eta = torch.full_like(loss, 2 * threat.eps)
        rises, checked, checked_eta, checked_loss = torch.zeros_like(loss), 0, eta, best_loss
        marks = checkpoints(self.steps)
        for k in range(1, self.steps + 1):
            live = ~fallen if self.early_stop else everyone
            if not live.any():
                break
            share = 1.0 if k == 1 else self.momentum
            ahead = threat.project(at + _wide(eta, x) * threat.ascent(gradient), x)
            moved = threat.project(at + share * (ahead - at) + (1 - share) * (at - before), x)
            before, at, last = at, moved, loss
            loss, gradient, won = self._look(ask, at, aim, live)
            rises = rises + (loss > last)
            higher = loss > best_loss
            best, best_loss, best_gradient = _pick(higher, (at, loss, gradient), (best, best_loss, best_gradient))
            better = (won & ~fallen) | ((won == fallen) & (loss > kept_loss))
            kept, kept_loss = _pick(better, (at, loss), (kept, kept_loss))
            fallen = fallen | won
            if k in marks:
                halve = (rises < self.rho * (k - checked)) | ((eta == checked_eta) & (best_loss == checked_loss))
                checked_eta, checked_loss = eta, best_loss
                at, loss, gradient, eta = _pick(halve, (best, best_loss, best_gradient, eta / 2), (at, loss, gradient, eta))
                rises, checked = torch.zeros_like(rises), k
        return kept, kept_loss, fallen

    def _look(self, ask: Gradients, at: Tensor, aim: Aim, live: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, gradient and success of the samples that are `live`; the others have loss -inf and no gradient."""
        ascent = ask(at[live], aim[live], live.nonzero().flatten())
        loss = torch.full((len(at),), -torch.inf, dtype=torch.float64, device=at.device)
        gradient, won = torch.zeros_like(at), torch.zeros_like(live)
        loss[live], gradient[live] = ascent.loss.to(loss.dtype), ascent.gradient
        if self.gradient.draws == 1:
            won[live] = aim[live].reached(ascent.logits)
        return loss, gradient, won

    @classmethod
    def example(cls) -> Self:
        return cls(steps=6)


def checkpoints(steps: int) -> list[int]:
    """After how many steps the step size is looked at: distances 0.22 N, 0.19 N, ... down to 0.06 N, each at least 1."""
    gap, least, shorter = (max(int(share * steps), 1) for share in (0.22, 0.06, 0.03))
    marks, at = [], gap
    while at <= steps:
        marks.append(at)
        gap = max(gap - shorter, least)
        at += gap
    return marks


def _wide(values: Tensor, x: Tensor) -> Tensor:
    """[N] shaped to broadcast against [N, *F], in the type of `x`."""
    return values.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


def _pick(mask: Tensor, new: tuple[Tensor, ...], old: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Per sample the new values where `mask` holds, else the old ones."""
    return tuple(torch.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in zip(new, old, strict=True))
