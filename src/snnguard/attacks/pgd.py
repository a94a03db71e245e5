"""Projected gradient descent, and the attacks that are settings of it: FGSM, RFGSM, BIM, MI-FGSM."""

from typing import Literal, Self, final

import torch
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor

from snnguard import rng
from snnguard.choice import named
from snnguard.threat import Threat

from .aim import Aim
from .attack import Attack, Target
from .gradient import InputGradient
from .model import Model


@final
class PGD(Attack, kind="pgd"):
    """x <- project(x + step * ascent(momentum-averaged gradient)), `steps` times, in the norm of the threat.

    `step_size` is in raw input units; without it the step is `step_fraction` of eps. `random_start` begins at a random
    point: uniform in the ball, or at eps/2 * ascent(Gaussian noise) with `start="half-sign"`. Pixels whose gradient is zero
    stay. `early_stop` takes a sample out of the batch at its first success: never weaker than the last iterate on a
    deterministic model, and faster; leave it off to craft training data.
    SOURCE: Madry 2018; momentum: Dong 2018, m = momentum * m + g / mean|g|.
    """

    steps: int = Field(default=10, ge=1)
    step_size: PositiveFloat | None = None
    step_fraction: PositiveFloat = 0.25
    random_start: bool = True
    start: Literal["uniform", "half-sign"] = "uniform"
    momentum: float = Field(default=0.0, ge=0)
    early_stop: bool = False
    gradient: InputGradient = InputGradient()

    @model_validator(mode="after")
    def _one_step_size(self) -> Self:
        if self.step_size is not None and "step_fraction" in self.model_fields_set and self.step_fraction != 0.25:
            raise ValueError("give step_size (raw units) or step_fraction (of eps), not both")
        return self

    def run(self, model: Model, x: Tensor, aim: Aim, threat: Threat, seed: int) -> Tensor:
        step = self.step_fraction * threat.eps if self.step_size is None else self.step_size
        done = self._begin(x, threat, seed)
        live = torch.arange(len(x), device=x.device)
        x_adv, momentum, ask = done.clone(), torch.zeros_like(x), self.gradient.begin(model, len(x))
        for _ in range(self.steps):
            ascent = ask(x_adv, aim[live], live)
            if self.early_stop:
                # The logits are those of the point before the step, so a success is found without an extra pass.
                lost = aim[live].reached(ascent.logits)
                done[live[lost]] = x_adv[lost]
                x_adv, momentum, live = x_adv[~lost], momentum[~lost], live[~lost]
                ascent = type(ascent)(*(part[~lost] for part in ascent))
                if len(live) == 0:
                    break
            direction = ascent.gradient
            if self.momentum:
                momentum = self.momentum * momentum + unit_mean(direction)
                direction = momentum
            x_adv = threat.project(x_adv + step * threat.ascent(direction), x[live])
        done[live] = x_adv
        return done

    def _begin(self, x: Tensor, threat: Threat, seed: int) -> Tensor:
        if not self.random_start:
            return x.clone()
        if self.start == "uniform":
            return threat.sample(x, rng.derive(seed, "start"))
        noise = rng.normal(x, rng.derive(seed, "start"))
        return threat.project(x + threat.eps / 2 * threat.ascent(noise), x)

    @classmethod
    def example(cls) -> Self:
        return cls(steps=3)


def unit_mean(gradient: Tensor) -> Tensor:
    """g / mean|g| per sample; zero where the gradient is zero (the published code gives NaN)."""
    size = gradient.flatten(1).abs().mean(1).reshape(-1, *[1] * (gradient.ndim - 1))
    return gradient / size.clamp_min(torch.finfo(gradient.dtype).tiny)


@named(Attack, "fgsm")
def fgsm(*, gradient: InputGradient | None = None, target: Target | None = None) -> PGD:
    """One step of length eps from the image itself. SOURCE: Goodfellow 2015."""
    return PGD(steps=1, step_fraction=1.0, random_start=False, gradient=gradient or InputGradient(), target=target)


@named(Attack, "rfgsm")
def rfgsm(*, gradient: InputGradient | None = None, target: Target | None = None) -> PGD:
    """eps/2 along the sign of Gaussian noise, then eps/2 along the gradient. SOURCE: Tramer 2018, the form of SNN-RAT.

    DEVIATION from several SNN codes, whose variants leave the ball.
    """
    return PGD(steps=1, step_fraction=0.5, start="half-sign", gradient=gradient or InputGradient(), target=target)


@named(Attack, "bim")
def bim(
    *, steps: int = 7, step_size: float | None = None, step_fraction: float = 0.25, early_stop: bool = False,
    gradient: InputGradient | None = None, target: Target | None = None,
) -> PGD:  # fmt: skip
    """PGD from the image itself, without a random start. SOURCE: Kurakin 2017."""
    return PGD(
        steps=steps, step_size=step_size, step_fraction=step_fraction, random_start=False, early_stop=early_stop,
        gradient=gradient or InputGradient(), target=target,
    )  # fmt: skip


@named(Attack, "mifgsm")
def mifgsm(
    *, steps: int = 10, step_size: float | None = None, step_fraction: float | None = None, momentum: float = 1.0,
    early_stop: bool = False, gradient: InputGradient | None = None, target: Target | None = None,
) -> PGD:  # fmt: skip
    """BIM along a running average of normalised gradients. SOURCE: Dong 2018, decay 1, step eps / steps."""
    if step_fraction is None:
        counts = isinstance(steps, int) and steps > 0  # what is no count of steps is refused by PGD itself
        step_fraction = 1 / steps if counts and step_size is None else 0.25
    return PGD(
        steps=steps, step_size=step_size, step_fraction=step_fraction, momentum=momentum, random_start=False,
        early_stop=early_stop, gradient=gradient or InputGradient(), target=target,
    )  # fmt: skip
