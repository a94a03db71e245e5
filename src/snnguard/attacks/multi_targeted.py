"""Multi-targeted attacks: one attack pushed towards one wrong class after another; whatever falls on the way counts."""

from typing import Self, final

import torch
from pydantic import Field, model_validator
from torch import Tensor

from snnguard import rng
from snnguard.choice import named
from snnguard.neurons import GradientRule
from snnguard.threat import Threat

from .aim import Aim
from .apgd import APGD
from .attack import Attack, Target
from .gradient import InputGradient
from .loss import DLR, Margin
from .model import Model, check_labels, hard, predict
from .pgd import PGD

LEAD = Margin(confidence=1e30)
"""`Aim.lead` itself, z_t - z_y towards a class t: no logits reach the cap."""


@final
class MultiTargeted(Attack, kind="multi-targeted"):
    """Runs `attack` with `Aim(leave=y, reach=t_k)` for k = 1 .. `classes`: t_k is the k-th most likely wrong class of the
    clean image (equal logits in order of the classes). Every class but y counts as a success, and what has succeeded is
    not attacked again. Where nothing succeeds, the point with the largest max_{i != y} z_i - z_y is returned, so that the
    judge never sees less than from any single class. Costs up to `classes` runs.

    A loss that pushes away from y pushes towards whichever class is ahead at the time, and is stuck where that one cannot
    be reached; here each class gets its own try. SOURCE: Gowal 2019; Croce & Hein 2020, section 4.2, whose 9 classes and
    APGD on the targeted DLR are the defaults.

    With more than one draw in the inner attack the model counts as random: one look proves no success there, so every
    class is tried and the point with the largest lead over the mean logits of as many draws is kept.
    A call that is targeted itself runs the inner attack once, towards that target.
    """

    attack: Attack = APGD(early_stop=True, gradient=InputGradient(loss=DLR()))
    classes: int = Field(default=9, ge=1)

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if self.attack.target is not None:
            raise ValueError(f"give target={self.attack.target!r} to the multi-targeted attack, not to the one inside it")
        return self

    @property
    def bounded(self) -> bool:
        return self.attack.bounded

    @property
    def frugal(self) -> bool:
        return self.attack.frugal

    @property
    def thins_out(self) -> bool:
        return (self._draws() == 1 or self.attack.thins_out) and self.frugal

    @property
    def gradient(self) -> InputGradient | None:
        """The inner attack's way to the gradient, if it has one."""
        found = getattr(self.attack, "gradient", None)
        return found if isinstance(found, InputGradient) else None

    def with_rule(self, rule: GradientRule | None) -> Self:
        return self.model_copy(update={"attack": self.attack.with_rule(rule)})

    def run(self, model: Model, x: Tensor, aim: Aim, threat: Threat, seed: int) -> Tensor:
        draws = self._draws()
        clean = predict(model, x, draws=draws)
        check_labels(x, hard(aim.leave), clean.shape[1])
        if aim.reach is not None:
            return self.attack.run(model, x, aim, threat, seed)
        best, lead = x.clone(), aim.lead(clean)
        won = aim.reached(clean) & (draws == 1)
        for k, reach in enumerate(wrong_classes(clean, hard(aim.leave), most=self.classes).unbind(1)):
            left = (~won).nonzero().flatten()
            if len(left) == 0:
                break
            towards = Aim(aim.leave[left], reach[left])
            x_adv = self.attack.run(model, x[left], towards, threat, rng.derive(seed, "class", k))
            logits = predict(model, x_adv, draws=draws)
            fell, ahead = aim[left].reached(logits) & (draws == 1), aim[left].lead(logits)
            better = fell | (ahead > lead[left])
            best[left[better]], lead[left[better]], won[left] = x_adv[better], ahead[better], fell
        return best

    def _draws(self) -> int:
        found = getattr(self.attack, "draws", 1) if self.gradient is None else self.gradient.draws
        return int(found)

    @classmethod
    def example(cls) -> Self:
        return cls(attack=APGD(steps=6, early_stop=True, gradient=InputGradient(loss=DLR())), classes=2)


def wrong_classes(logits: Tensor, y: Tensor, *, most: int) -> Tensor:
    """The classes other than `y` [N], most likely first and equal ones in order, at most `most` of them: [N, k]."""
    others = logits.scatter(1, y[:, None], -torch.inf).argsort(dim=1, descending=True, stable=True)
    # y is taken out by name: a class whose own logit is -inf must not give way to it.
    others = others[others != y[:, None]].reshape(len(logits), logits.shape[1] - 1)
    return others[:, :most]


@named(Attack, "apgd-t")
def apgd_t(
    *, steps: int = 100, classes: int = 9, restarts: int = 1, gradient: InputGradient | None = None,
    target: Target | None = None,
) -> MultiTargeted:  # fmt: skip
    """APGD on the DLR towards each of the most likely wrong classes; of `gradient`, rule and draws are taken.

    SOURCE: Croce & Hein 2020, AutoAttack's APGD-T: 9 classes, 100 steps each.
    """
    found = _with_loss(gradient, DLR())
    inner = APGD(steps=steps, restarts=restarts, early_stop=found.draws == 1, gradient=found)
    return MultiTargeted(attack=inner, classes=classes, target=target)


@named(Attack, "mt-pgd")
def mt_pgd(
    *, steps: int = 20, step_size: float | None = None, step_fraction: float = 0.25, classes: int = 9,
    gradient: InputGradient | None = None, target: Target | None = None,
) -> MultiTargeted:  # fmt: skip
    """PGD on z_t - z_y for each of the most likely wrong classes t; of `gradient`, rule and draws are taken.

    SOURCE: Gowal 2019. Steps are PGD's own, twice as many as its default: each class gets one try only.
    """
    found = _with_loss(gradient, LEAD)
    inner = PGD(
        steps=steps, step_size=step_size, step_fraction=step_fraction, early_stop=found.draws == 1, gradient=found
    )  # fmt: skip
    return MultiTargeted(attack=inner, classes=classes, target=target)


def _with_loss(gradient: InputGradient | None, loss: DLR | Margin) -> InputGradient:
    return InputGradient.parse(gradient or InputGradient()).model_copy(update={"loss": loss})
