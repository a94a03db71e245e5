"""HART: gradients through space alone, averaged over time at every layer."""

from collections.abc import Sequence
from typing import Any, final

import torch
from pydantic import PositiveFloat
from torch import Tensor

from .drawn import Noise, over_time
from .dynamics import Dynamics
from .rule import GradientRule, run
from .surrogate import Surrogate, Triangle
from .trait import Mechanism
from .watch import Membrane, Watch


@final
class HART(GradientRule, kind="hart"):
    """dL/dI[t] = mean over k of dL/ds[k] h(ubar[k]), the same for every t; h is the triangle of half width `gamma`.

    Nothing passes from step to step: the membrane that a step finds is taken as given. What is watched under this rule has
    no gradient, as under every `SlopeRule`.
    SOURCE: Hao 2024 (ICLR), whose code begins at gamma = 1 and searches it per model; here it is a setting.
    """

    gamma: PositiveFloat = 1.0

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
        with torch.no_grad():
            kept = _Kept(over_time(current, steps), Triangle(gamma=self.gamma))
            spikes, seen = run(
                current, inside, own=False, steps=steps, surrogate=kept, watch=watch, noise=noise, leak=leak,
                **dynamics.constants(),
            )  # fmt: skip
        return _Averaged.apply(current, spikes, kept.h), seen  # type: ignore[no-untyped-call]


class _Kept:
    """Keeps h [T, N, *F] of every step's membrane."""

    def __init__(self, h: Tensor, surrogate: Surrogate) -> None:
        self.h, self.surrogate = h, surrogate

    def at(self, t: int, u: Tensor, *, threshold: float) -> Surrogate:
        self.h[t] = self.surrogate.derivative(u - threshold)
        return self.surrogate


class _Averaged(torch.autograd.Function):
    """The spikes of a current, with its gradient averaged over time."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, spikes: Tensor, h: Tensor) -> Tensor:
        ctx.save_for_backward(h)
        ctx.once = len(current) == 1
        return spikes.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (h,) = ctx.saved_tensors
        total = (grad * h).sum(0, keepdim=True)
        # A current given once serves in all T steps, so T times the mean.
        return total if ctx.once else (total / len(h)).expand_as(h), None, None
