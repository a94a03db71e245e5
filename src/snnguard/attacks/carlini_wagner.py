"""Carlini & Wagner's L2 attack: the smallest perturbation that changes the class, not bounded by eps."""

from typing import Self, final

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor

from snnguard.threat import Threat

from .aim import Aim
from .attack import Attack
from .gradient import InputGradient
from .loss import Margin
from .model import Model


@final
class CW(Attack, kind="cw"):
    """Minimises ||x' - x||_2^2 + c * f(x') with f = max(z_y - max_{i != y} z_i, -confidence), in tanh space, by Adam.

    The closest success per sample is kept; a sample without one comes back unchanged. With `searches` > 0, c is searched
    per sample by bisection, starting from `c` (times 10 while nothing succeeds). Elementwise Adam and per-sample
    bookkeeping: results do not depend on the batch.
    SOURCE: Carlini & Wagner 2017; c = 0.5, 10 steps, lr 0.01 as in FEEL's code, most likely MPD-SGR's too.
    DEVIATION: pixels at the edge of the range are moved in by 1e-6 (atanh is infinite there), so that they can move at
    all; tanh is flat there, and with the papers' 10 small steps they hardly do: where many pixels are black, as in digits,
    that setting says little. No stopping on a loss summed over the batch.
    """

    c: PositiveFloat = 0.5
    steps: int = Field(default=10, ge=1)
    learning_rate: PositiveFloat = 0.01
    confidence: float = Field(default=0.0, ge=0)
    searches: int = Field(default=0, ge=0)
    gradient: InputGradient = InputGradient()

    @property
    def bounded(self) -> bool:
        return False

    def run(self, model: Model, x: Tensor, aim: Aim, threat: Threat, seed: int) -> Tensor:  # noqa: ARG002
        best, best_l2 = x.clone(), torch.full((len(x),), torch.inf, device=x.device, dtype=x.dtype)
        low, high = torch.zeros_like(best_l2), torch.full_like(best_l2, torch.inf)
        c = torch.full_like(best_l2, self.c)
        for _ in range(1 + self.searches):
            found, l2 = self._descend(model, x, aim, threat, c)
            better = l2 < best_l2
            best[better], best_l2[better] = found[better], l2[better]
            won = torch.isfinite(l2)
            high = torch.where(won, torch.minimum(high, c), high)
            low = torch.where(won, low, torch.maximum(low, c))
            c = torch.where(torch.isfinite(high), (low + high) / 2, c * 10)
        return best

    def _descend(self, model: Model, x: Tensor, aim: Aim, threat: Threat, c: Tensor) -> tuple[Tensor, Tensor]:
        """The closest success and its L2 distance (infinite where there is none), at one c per sample."""
        objective = self.gradient.model_copy(update={"loss": Margin(confidence=self.confidence)})
        ask = objective.begin(model, len(x))
        middle, half = (threat.high + threat.low) / 2, (threat.high - threat.low) / 2
        w = ((x - middle) / half).clamp(-1 + 1e-6, 1 - 1e-6).atanh()
        first, second = torch.zeros_like(w), torch.zeros_like(w)
        best, best_l2 = x.clone(), torch.full_like(c, torch.inf)
        for step in range(1, self.steps + 2):
            t = w.tanh()
            x_adv = middle + half * t
            ascent = ask(x_adv, aim)
            l2 = (x_adv - x).flatten(1).norm(dim=1)
            better = self._succeeds(ascent.logits, aim) & (l2 < best_l2)
            best[better], best_l2[better] = x_adv[better], l2[better]
            if step > self.steps:
                break
            slope = (2 * (x_adv - x) - c.reshape(-1, *[1] * (x.ndim - 1)) * ascent.gradient) * half * (1 - t * t)
            first = 0.9 * first + 0.1 * slope
            second = 0.999 * second + 0.001 * slope * slope
            w = w - self.learning_rate * (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
        return best, best_l2

    def _succeeds(self, logits: Tensor, aim: Aim) -> Tensor:
        return aim.lead(logits) >= self.confidence if self.confidence else aim.reached(logits)

    @classmethod
    def example(cls) -> Self:
        return cls(steps=3)
