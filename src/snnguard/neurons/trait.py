"""Traits: what a neuron does beyond LIF, as values that combine.

A trait fills one slot of the neuron, and a neuron has at most one trait per slot, so that traits of different slots combine:

    gain         scales the current before it is integrated
    noise        is added to the membrane in each step
    leak         replaces the decay, per step, per layer or per neuron
    membrane     transforms the membrane before it is compared with the threshold
    threshold    moves the threshold
    firing       decides which value is emitted and how it differentiates
    spikes       gates what is passed on

`LIF(traits=(...))` builds for each layer one `Mechanism` per trait: the module that owns the trait's parameters and buffers.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from snnguard.choice import Choice

from .drawn import Noise

Slot = Literal["gain", "noise", "leak", "membrane", "threshold", "firing", "spikes"]


class Trait(Choice):
    """Settings of one departure from LIF; `source` is where it comes from."""

    slot: ClassVar[Slot]
    source: ClassVar[str] = ""

    @abstractmethod
    def build(self, *, steps: int) -> "Mechanism":
        """A fresh module for one layer of a network that runs for `steps` time steps."""

    @property
    def noisy(self) -> bool:
        """Whether two calls in eval mode can differ."""
        return False


class Mechanism(nn.Module):
    """What a trait does in one layer. Every hook defaults to what LIF does; a mechanism overrides those that it needs.

    Most hooks act on whole trains, around the fused kernel. `charged` and `shift`, and those of `Firing`, act within the
    time loop: a mechanism that overrides one of them sets `inside`, and its layer runs the reference loop.
    """

    inside: ClassVar[bool] = False

    @property
    def needs_current(self) -> bool:
        """Whether it wants to see the current, or acts within the time loop: then nothing else may be done to it on the way."""
        own = type(self)
        return self.inside or own.scaled is not Mechanism.scaled or own.leak is not Mechanism.leak

    def settle(self, current: Tensor) -> None:
        """Gives parameters that are as large as the layer their shape, from a current [T or 1, N, *F]. Called each time."""

    def scaled(self, current: Tensor) -> Tensor:
        """The current [T or 1, N, *F] that is integrated."""
        return current

    def noise(self) -> Noise | None:
        """What is added to the membrane in each step, or nothing."""
        return None

    def leak(self, current: Tensor) -> Tensor | None:  # noqa: ARG002
        """The decay into each step in place of the neuron's own, [T, 1, *F] or broadcasting to it; entry 0 never acts."""
        return None

    def passed_on(self, spikes: Tensor) -> Tensor:
        """What the next layer sees of the spikes [T, N, *F]."""
        return spikes

    def charged(self, u: Tensor, *, threshold: float) -> Tensor:  # noqa: ARG002
        """The membrane [N, *F] after charging."""
        return u

    def shift(self, membranes: Sequence[Tensor], *, threshold: float) -> Tensor | None:  # noqa: ARG002
        """What is added to the threshold in the next step, given the membranes before reset of the steps so far."""
        return None


class Firing(Mechanism, ABC):
    """A mechanism of the slot "firing": what is emitted, and the function whose gradient stands for the step's."""

    inside: ClassVar[bool] = True

    def emit(self, ubar: Tensor) -> Tensor:
        """What is emitted at `ubar = u - threshold` [N, *F], without a gradient."""
        return (ubar >= 0).to(ubar.dtype)

    @abstractmethod
    def smooth(self, ubar: Tensor) -> Tensor:
        """The differentiable function whose gradient stands for that of `emit`."""

    @property
    @abstractmethod
    def window(self) -> float:
        """Half width of the interval around the threshold in which `smooth` lets gradient through."""


def settled(parameter: nn.Parameter, shape: Sequence[int], *, value: float, like: Tensor) -> None:
    """Gives a parameter made by `unsettled` its shape and first value, unless it has them already."""
    if isinstance(parameter, UninitializedParameter):
        parameter.materialize(tuple(shape), device=like.device, dtype=like.dtype)
        with torch.no_grad():
            parameter.fill_(value)


def unsettled() -> nn.Parameter:
    """A parameter whose shape is that of its layer, known at the first forward pass (`networks.construct` makes one)."""
    waiting: nn.Parameter = UninitializedParameter()  # type: ignore[assignment]
    return waiting


def aligned(parameter: Tensor, like: Tensor) -> Tensor:
    """A parameter [S, C, H, W] in the memory order of a train [T, N, C, H, W], so that products of the two are fast."""
    if like.ndim == 5 and like[0].is_contiguous(memory_format=torch.channels_last):
        return parameter.contiguous(memory_format=torch.channels_last)
    return parameter


def is_unsettled(module: nn.Module) -> bool:
    """Whether a parameter or buffer of `module` still waits for its shape."""
    held = [*module.parameters(), *module.buffers()]
    return any(isinstance(tensor, UninitializedParameter | nn.UninitializedBuffer) for tensor in held)
