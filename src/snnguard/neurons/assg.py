"""Adaptive-sharpness surrogate gradients: as wide, for each neuron, as its membrane has been far from the threshold."""

import math
from collections.abc import Sequence
from typing import ClassVar, NamedTuple, Self, final

import torch
from pydantic import Field, PrivateAttr
from torch import Tensor

from .drawn import Noise, over_time
from .dynamics import Dynamics
from .memory import Memory
from .rule import GradientRule, run
from .surrogate import Surrogate, atan_slope
from .trait import Mechanism
from .watch import Membrane, Watch


@final
class ASSG(GradientRule, kind="assg"):
    """Backpropagation through time with the ATan surrogate, whose sharpness alpha follows each neuron and time step.

    Per element of [T, n, *F], over the calls of one attack run, starting from M = 1 and D = 0:

        M <- beta M + (1 - beta) |ubar|            how far the membrane is from the threshold
        D <- beta D + (1 - beta) ||ubar| - M|      how much that varies, with the new M
        alpha = c / (M + relax D + 1e-4),  c = (2 / pi) tan(pi share)

    so that the share of the surrogate's area that lies between 0 and M + relax D is `share`, of at most 1/2: a larger one
    is sharper, closer to the true step but with more gradients that vanish. M and D are those of the call itself, its
    forward pass included; further draws of a random model use them unchanged. Statistics are of the membrane that decides
    the spike, with the noise of a noisy neuron, whether or not somebody watches. Without a memory every call is the first.
    SOURCE: Wang 2025 (arXiv 2512.22522) and its code: beta 0.9, relax 1.5, share 0.425. They search the share per model, on
    the samples that they report; here it is a setting. DEVIATION: whether the reset keeps its gradient is the neuron's own
    setting; their neurons detach it. DEVIATION: M and D stay with their sample when others leave the batch; their code
    keeps the batch whole.
    """

    remembers: ClassVar[bool] = True

    share: float = Field(default=0.425, gt=0, lt=0.5)
    relax: float = Field(default=1.5, ge=0)
    beta: float = Field(default=0.9, ge=0, lt=1)

    _layer: str = PrivateAttr(default="")
    _memory: Memory | None = PrivateAttr(default=None)

    def at(self, layer: str, memory: Memory | None) -> Self:
        if memory is None:
            return self
        bound = self.model_copy()
        bound._layer, bound._memory = layer, memory
        return bound

    def spikes(
        self,
        current: Tensor,
        *,
        steps: int,
        dynamics: Dynamics,
        surrogate: Surrogate,  # noqa: ARG002
        watch: Watch | None = None,
        noise: Noise | None = None,
        leak: Tensor | None = None,
        inside: Sequence[Mechanism] = (),
    ) -> tuple[Tensor, Membrane | None]:
        memory = self._memory or Memory(current.shape[1])
        like = over_time(current, steps)
        # A neuron that serves in several places of a network keeps what it saw at one size apart from the others.
        place = f"{self._layer} {tuple(like[:, 0].shape)}"
        seen = _Statistics(
            memory.recall(f"{place} M", like, start=1), memory.recall(f"{place} D", like, start=0), self, learns=memory.learns
        )  # fmt: skip
        out = run(
            current, inside, own=False, steps=steps, surrogate=seen, watch=watch, noise=noise, leak=leak, **dynamics.constants()
        )  # fmt: skip
        memory.keep(f"{place} M", seen.distance, start=1)
        memory.keep(f"{place} D", seen.deviation, start=0)
        return out


class _Statistics:
    """M and D [T, n, *F] of one layer in one call: updated step by step where it learns, and the slopes that follow."""

    def __init__(self, distance: Tensor, deviation: Tensor, settings: ASSG, *, learns: bool) -> None:
        self.old, self.settings, self.learns = (distance, deviation), settings, learns
        # Written elsewhere than read from: what was recalled may be the memory itself.
        self.distance = torch.empty_like(distance) if learns else distance
        self.deviation = torch.empty_like(deviation) if learns else deviation
        self.c = 2 / math.pi * math.tan(math.pi * settings.share)

    def at(self, t: int, u: Tensor, *, threshold: float) -> "_Sharp":
        if self.learns:
            fresh = 1 - self.settings.beta
            size = (u - threshold).abs_()
            torch.lerp(self.old[0][t], size, fresh, out=self.distance[t])
            torch.lerp(self.old[1][t], size.sub_(self.distance[t]).abs_(), fresh, out=self.deviation[t])
        width = torch.add(self.distance[t], self.deviation[t], alpha=self.settings.relax)
        return _Sharp(width.add_(1e-4).reciprocal_().mul_(self.c))


class _Sharp(NamedTuple):
    """ATan with a sharpness [n, *F] for each element."""

    alpha: Tensor

    def derivative(self, ubar: Tensor) -> Tensor:
        return atan_slope(ubar, self.alpha)
