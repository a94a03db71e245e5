"""Gradient rules: how the backward pass of a neuron is computed. None of them may move the forward pass by one bit.

Which gradient an attacker uses is the attacker's own business, so a rule is a value handed to the attack
(`InputGradient(rule=...)`) and put on the model for the time of a `with use_rule(model, rule):` block.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from snnguard.choice import Choice

from .drawn import Noise
from .dynamics import Dynamics, unroll
from .kernels import Normalisation, as_tensor
from .kernels import run as accelerated
from .memory import Memory
from .surrogate import Surrogate
from .trait import Mechanism
from .watch import Membrane, Watch


def run(
    current: Tensor, inside: Sequence[Mechanism], *, own: bool = True, noise: Noise | None = None,
    norm: Normalisation | None = None, **call: Any,
) -> tuple[Tensor, Membrane | None]:  # fmt: skip
    """The forward pass of every rule: the fastest kernel, or the reference loop where a mechanism acts inside it."""
    if not inside:
        return accelerated(current, noise=noise, norm=norm, **call)
    added = None if noise is None else as_tensor(noise, current, call["steps"])
    return unroll(current if added is None else current + added, inside=inside, own=own, noise=added, **call)


class GradientRule(Choice):
    """Turns a current into spikes and decides how they differentiate."""

    half: ClassVar[bool] = False
    """Whether it takes a current in half precision as it is; else the neuron makes float32 of it first."""

    remembers: ClassVar[bool] = False
    """Whether it keeps something of every sample, layer and time step during an attack."""

    def at(self, layer: str, memory: Memory | None) -> "GradientRule":  # noqa: ARG002
        """The rule as the neuron called `layer` uses it; one that remembers what it saw there returns a copy that does."""
        return self

    @abstractmethod
    def spikes(
        self,
        current: Tensor,
        *,
        steps: int,
        dynamics: Dynamics,
        surrogate: Surrogate,
        watch: Watch | None = None,
        noise: Noise | None = None,
        leak: Tensor | None = None,
        inside: Sequence[Mechanism] = (),
    ) -> tuple[Tensor, Membrane | None]:
        """Spikes [T, N, *F] of a current [T or 1, N, *F] and the noise that is added to it in each step.

        `surrogate` is the neuron's own; the mechanisms `inside` act in its time loop.
        """


@final
class BPTT(GradientRule, kind="bptt"):
    """Backpropagation through time, through the neuron's own surrogate or the one given here."""

    half: ClassVar[bool] = True
    surrogate: Surrogate | None = None

    def spikes(
        self,
        current: Tensor,
        *,
        steps: int,
        dynamics: Dynamics,
        surrogate: Surrogate,
        watch: Watch | None = None,
        noise: Noise | None = None,
        leak: Tensor | None = None,
        inside: Sequence[Mechanism] = (),
        norm: Normalisation | None = None,
    ) -> tuple[Tensor, Membrane | None]:
        """`norm` is done to the current first."""
        used, own = self.surrogate or surrogate, self.surrogate is None
        return run(
            current, inside, own=own, steps=steps, surrogate=used, watch=watch, noise=noise, leak=leak, norm=norm,
            **dynamics.constants(),
        )  # fmt: skip


class SlopeRule(GradientRule):
    """Rules that replace the unrolled backward by a factor: dL/dI[t] = dL/ds[t] * slope, with no path through time.

    What is watched under them has no gradient: they are for attackers, not for training with a membrane penalty.
    """

    @abstractmethod
    def slope(self, current: Tensor, spikes: Tensor, dynamics: Dynamics) -> Tensor:
        """The factor, [1, N, *F], from the current [T or 1, N, *F] and the spikes [T, N, *F]."""

    @final
    def spikes(
        self,
        current: Tensor,
        *,
        steps: int,
        dynamics: Dynamics,
        surrogate: Surrogate,
        watch: Watch | None = None,
        noise: Noise | None = None,
        leak: Tensor | None = None,
        inside: Sequence[Mechanism] = (),
    ) -> tuple[Tensor, Membrane | None]:
        with torch.no_grad():
            # The forward pass of every rule is this one function, so it cannot differ between rules.
            spikes, seen = run(
                current, inside, steps=steps, surrogate=surrogate, watch=watch, noise=noise, leak=leak, **dynamics.constants()
            )  # fmt: skip
            slope = self.slope(current, spikes, dynamics)
        return _WithSlope.apply(current, spikes, slope), seen  # type: ignore[no-untyped-call]


class _WithSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: Tensor, spikes: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        ctx.static = len(current) == 1 and len(spikes) > 1
        return spikes.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        if ctx.static:
            grad = grad.sum(0, keepdim=True)
        return grad * slope, None, None


@final
class StraightThrough(SlopeRule, kind="straight-through"):
    """dL/dI[t] = dL/ds[t]: every neuron is the identity. SOURCE: Bengio 2013."""

    def slope(self, current: Tensor, spikes: Tensor, dynamics: Dynamics) -> Tensor:  # noqa: ARG002
        return torch.ones_like(spikes[:1])


@final
class RateGradient(SlopeRule, kind="rate"):
    """The rate gradient of RGA: a slope in the mean input, the same for every time step.

    With x = mean over time of I, in units of the threshold: (1 - floor + floor * decay) / (decay + 1) on
    [1 - decay, 2], `floor` on [0, 1 - decay), 0 elsewhere.
    A leak that a trait learns does not enter it: `decay` is the neuron's own.
    SOURCE: Bu 2023 (RGA). DEVIATION: at the point where both pieces meet the published code adds them; here the upper
    piece counts alone. DEVIATION: a threshold other than 1 scales the axis and the slope, which the paper does not need.
    """

    floor: float = Field(default=0.2, ge=0, le=1)

    def slope(self, current: Tensor, spikes: Tensor, dynamics: Dynamics) -> Tensor:  # noqa: ARG002
        mean = current.mean(0, keepdim=True) / dynamics.threshold
        decay = dynamics.decay
        upper = ((mean >= 1 - decay) & (mean <= 2)).to(mean.dtype) * ((1 - self.floor + self.floor * decay) / (decay + 1))
        lower = ((mean >= 0) & (mean < 1 - decay)).to(mean.dtype) * self.floor
        return (upper + lower) / dynamics.threshold


@final
class FiredMask(SlopeRule, kind="fired-mask"):
    """Straight through every neuron that fired at least once. SOURCE: Ding 2022 (SNN-RAT's BPTR)."""

    def slope(self, current: Tensor, spikes: Tensor, dynamics: Dynamics) -> Tensor:  # noqa: ARG002
        return (spikes.sum(0, keepdim=True) > 0).to(current.dtype)
