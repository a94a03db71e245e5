"""Stable adaptive PGD: steps by the ratio of two running averages of the gradient, so that wavering pixels move less."""

from typing import Self, final

import torch
from pydantic import Field
from torch import Tensor

from snnguard import rng
from snnguard.threat import Linf, Threat

from .aim import Aim
from .apgd import checkpoints
from .attack import Attack
from .gradient import InputGradient
from .model import Model
from .pgd import unit_mean


@final
class SAPGD(Attack, kind="sa-pgd"):
    """x <- project(x + clip(eta m / sqrt(v))), with running averages m and v of the gradient g and of its square:

        m <- momentum m + g / mean|g|        v <- memory v + g^2 / mean(g^2)

    Both begin at 0; the means are over the pixels of a sample, and each pixel moves by at most eta. eta begins at eps and is
    halved at the checkpoints of APGD, whatever the loss did. The start is a random point at distance eps. A pixel whose
    gradient keeps its sign moves by about eta, one whose sign wavers by less: it is made for the unsteady gradients of spiking
    networks, with `gradient.rule` ASSG in its source.

    Returned is, per sample, the misclassified point of highest loss, or if there was none the point of highest loss. With
    `gradient.draws` > 1 the model counts as random: one look proves no success there, and it is the point of highest loss.
    `restarts` are runs from other random starts; a later one sees only what the earlier ones did not break. `early_stop`
    ends a sample's run at its first success; it has no effect where one look proves none.
    SOURCE: Wang 2025 (arXiv 2512.22522) and its code, for Linf; all defaults are theirs.
    DEVIATION: theirs returns the last misclassified point. A sample without any gradient stays where it is; there it is NaN.
    DEVIATION: L2, which is not in the paper. Divided pixel by pixel every direction becomes one of signs, which is not the
    steepest in L2, so there g is scaled to length 1, v is the running sum of its squared length, one number per sample, and
    the whole step is at most eta long.
    """

    steps: int = Field(default=100, ge=1)
    momentum: float = Field(default=0.5, ge=0, lt=1)
    memory: float = Field(default=0.8, ge=0, lt=1)
    restarts: int = Field(default=1, ge=1)
    early_stop: bool = False
    gradient: InputGradient = InputGradient()

    def run(self, model: Model, x: Tensor, aim: Aim, threat: Threat, seed: int) -> Tensor:
        best = _Best(x)
        for restart in range(self.restarts):
            left = (~best.won).nonzero().flatten()
            if len(left) == 0:
                break
            self._climb(model, x, aim, threat, left, best, rng.derive(seed, "start", restart))
        return best.point

    def _climb(self, model: Model, x: Tensor, aim: Aim, threat: Threat, rows: Tensor, best: "_Best", seed: int) -> None:
        """One run for the samples `rows`, which offers every point that it sees to `best`."""
        ask, live = self.gradient.begin(model, len(rows)), torch.arange(len(rows), device=x.device)
        at = far_start(x[rows], threat, seed)
        m, v = torch.zeros_like(at), torch.zeros_like(at)
        reach, marks = threat, checkpoints(self.steps)
        for k in range(1 + self.steps):
            ascent = ask(at, aim[rows], live)
            won = aim[rows].reached(ascent.logits) & (self.gradient.draws == 1)
            best.offer(rows, at, ascent.loss, won)
            gradient = ascent.gradient
            if self.early_stop and won.any():
                rows, live, at, m, v, gradient = (part[~won] for part in (rows, live, at, m, v, gradient))
            if k == self.steps or len(rows) == 0:
                break
            first, second = _scaled(gradient, threat)
            m, v = self.momentum * m + first, self.memory * v + second
            # `reach` is the ball of radius eta: its `shrink` cuts the step in the norm of the threat.
            at = threat.project(at + reach.shrink(reach.eps * m / (v.sqrt() + 1e-12)), x[rows])
            if k + 1 in marks:
                reach = reach.model_copy(update={"eps": reach.eps / 2})

    @classmethod
    def example(cls) -> Self:
        return cls(steps=6)


class _Best:
    """The point kept of each sample of an attack: the misclassified one of highest loss, else the one of highest loss."""

    def __init__(self, x: Tensor) -> None:
        self.point = x.clone()
        self.loss = torch.full((len(x),), -torch.inf, dtype=torch.float64, device=x.device)
        self.won = torch.zeros(len(x), dtype=torch.bool, device=x.device)

    def offer(self, rows: Tensor, points: Tensor, loss: Tensor, won: Tensor) -> None:
        """Points of the samples `rows`, their loss and whether they are misclassified."""
        loss, before = loss.to(self.loss.dtype), self.won[rows]
        better = (won & ~before) | ((won == before) & (loss > self.loss[rows]))
        self.point[rows[better]], self.loss[rows[better]] = points[better], loss[better]
        self.won[rows] = before | won


def far_start(x: Tensor, threat: Threat, seed: int) -> Tensor:
    """x + eps n / |n| in the norm of the threat, with n uniform in [-1, 1) per pixel; cut to the range."""
    noise = 2 * rng.uniform(x, seed) - 1
    length = threat.distance(noise, torch.zeros_like(noise)).reshape(-1, *[1] * (x.ndim - 1))
    return threat.project(x + threat.eps * noise / length.clamp_min(torch.finfo(x.dtype).tiny), x)


def _scaled(gradient: Tensor, threat: Threat) -> tuple[Tensor, Tensor]:
    """What a gradient adds to m and to v: its size does not matter; zero where it is zero."""
    wide = (-1, *[1] * (gradient.ndim - 1))
    if not isinstance(threat, Linf):
        unit = threat.ascent(gradient)
        return unit, unit.flatten(1).square().sum(1).reshape(wide)
    # By the largest entry first: the squares of a confident model's gradient (1e-25 and less) vanish in float32.
    peak = gradient.flatten(1).abs().amax(1).reshape(wide)
    scaled = gradient / peak.clamp_min(torch.finfo(gradient.dtype).tiny)
    return unit_mean(scaled), unit_mean(scaled.square())
