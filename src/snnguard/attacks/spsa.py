"""Gradients estimated from scores: SPSA, and NES as a setting of it."""

from collections.abc import Iterator
from typing import Literal, Self, final

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor

from snnguard import rng
from snnguard.choice import named
from snnguard.threat import Threat

from .aim import Aim
from .attack import Attack, Target
from .model import Model
from .queries import Search

TOGETHER = 32
"""Directions per sample that are asked about at once."""


@final
class SPSA(Attack, kind="spsa"):
    """x' <- project(x' + step g), with g the mean of v (L(x' + delta v) - L(x' - delta v)) / 2 delta over `samples` v.

    L is `Aim.lead`. Directions v are +-1 per pixel, or standard normal. The step is Adam's (moments 0.9 and 0.999), held to
    length 1 in the norm of the threat, or the steepest ascent in that norm; either times `step_fraction` eps. Asked about
    are images cut to the range. Each of the `steps` costs 2 `samples` + 1 queries; the point of largest lead is kept, one
    that reached the aim before one that did not.

    `early_stop` takes a sample out at its first success. With `draws` > 1 the model counts as random: leads are averaged
    over the draws and no sample leaves.
    SOURCE: Uesato 2018; their step of 0.01 is 0.32 of eps = 8/255.
    DEVIATION: delta 0.05 for their 0.01: a spiking network is a staircase, on whose steps a shorter one sees no slope.
    """

    steps: int = Field(default=100, ge=1)
    samples: int = Field(default=128, ge=1)
    delta: PositiveFloat = 0.05
    directions: Literal["rademacher", "gaussian"] = "rademacher"
    update: Literal["adam", "ascent"] = "adam"
    step_fraction: PositiveFloat = 0.25
    random_start: bool = False
    draws: int = Field(default=1, ge=1)
    early_stop: bool = True

    @property
    def frugal(self) -> bool:
        return False  # it asks about many points of a sample at once

    def run(self, model: Model, x: Tensor, aim: Aim, threat: Threat, seed: int) -> Tensor:
        search = Search(model, x, aim, draws=self.draws, early_stop=self.early_stop)
        generators = rng.per_sample(x, rng.derive(seed, "directions"))
        at = threat.sample(x, rng.derive(seed, "start")) if self.random_start else x.clone()
        search.offer(at)
        first, second = torch.zeros_like(x), torch.zeros_like(x)
        for step in range(1, self.steps + 1):
            live = search.live
            if len(live) == 0:
                break
            slope = self._slope(search, at[live], threat, [generators[i] for i in live.tolist()])
            first[live] = 0.9 * first[live] + 0.1 * slope
            second[live] = 0.999 * second[live] + 0.001 * slope.square()
            if self.update == "adam":
                mean, power = first[live] / (1 - 0.9**step), second[live] / (1 - 0.999**step)
                move = threat.model_copy(update={"eps": 1.0}).shrink(mean / (power.sqrt() + 1e-8))
            else:
                move = threat.ascent(slope)
            at[live] = threat.project(at[live] + self.step_fraction * threat.eps * move, x[live])
            search.offer(at[live])
        return search.best

    def _slope(self, search: Search, at: Tensor, threat: Threat, generators: list[torch.Generator]) -> Tensor:
        """The estimated gradient of the leads at the points `at` of the samples that are live."""
        total = torch.zeros_like(at)
        for v in self._directions(at, generators):
            count = v.shape[1]
            ends = torch.stack([at[:, None] + self.delta * v, at[:, None] - self.delta * v], 1).flatten(0, 2)
            lead = search.ask(threat.clip(ends), search.aim[search.live.repeat_interleave(2 * count)]).lead
            up, down = lead.reshape(-1, 2, count).to(at).unbind(1)
            for k in range(count):  # one after another: the order of the sum must not hang on the size of the batch
                total += v[:, k] * (up - down)[:, k].reshape(-1, *[1] * (at.ndim - 1))
        return total / (2 * self.delta * self.samples)

    def _directions(self, at: Tensor, generators: list[torch.Generator]) -> Iterator[Tensor]:
        """All directions [n, k, *F] of a step, at most `TOGETHER` at a time, from each sample's own generator."""
        for begin in range(0, self.samples, TOGETHER):
            shape = (min(TOGETHER, self.samples - begin), *at.shape[1:])
            if self.directions == "gaussian":
                drawn = [torch.randn(shape, generator=generator) for generator in generators]
            else:
                drawn = [2 * torch.randint(2, shape, generator=generator) - 1 for generator in generators]
            yield torch.stack(drawn).to(at)

    @classmethod
    def example(cls) -> Self:
        return cls(steps=5, samples=16)


@named(Attack, "nes")
def nes(
    *, steps: int = 40, samples: int = 25, delta: float = 0.05, step_fraction: float = 0.1, random_start: bool = False,
    draws: int = 1, early_stop: bool = True, target: Target | None = None,
) -> SPSA:  # fmt: skip
    """SPSA along Gaussian directions, with steepest steps. SOURCE: Ilyas 2018, 50 queries per gradient.

    DEVIATION: delta 0.05 for their 0.001, which hardly finds anything on a spiking network (see `SPSA`); smaller steps; and
    the loss is `Aim.lead`, not the cross-entropy, which is flat where the model is sure.
    """
    return SPSA(
        steps=steps, samples=samples, delta=delta, directions="gaussian", update="ascent", step_fraction=step_fraction,
        random_start=random_start, draws=draws, early_stop=early_stop, target=target,
    )  # fmt: skip
