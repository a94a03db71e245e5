"""Neurons: values that say which one, modules that do it. A module owns settings, never state between calls."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar, cast

import torch
from pydantic import field_validator
from torch import Tensor, nn

from snnguard.errors import RequestError

from .dynamics import Dynamics, Reset
from .kernels import Normalisation, normalises
from .memory import Memory
from .rule import BPTT, GradientRule, SlopeRule
from .surrogate import DEFAULT_SURROGATE, Surrogate
from .trait import Firing, Mechanism, Trait
from .watch import Membrane, Watch

M = TypeVar("M", bound=Mechanism)


class LIF(Dynamics, kind="lif"):
    """Leaky integrate-and-fire; `decay=1.0` has no leak. The defaults are those of the RAT family and both seeds.

    `traits` are what it does beyond LIF, at most one per slot (see `trait.py`); their order does not matter.
    """

    surrogate: Surrogate = DEFAULT_SURROGATE
    traits: tuple[Trait, ...] = ()

    @field_validator("traits", mode="after")
    @classmethod
    def _one_per_slot(cls, traits: tuple[Trait, ...]) -> tuple[Trait, ...]:
        for trait in traits:
            rivals = [other.kind for other in traits if other.slot == trait.slot]
            if len(rivals) > 1:
                raise ValueError(f"{' and '.join(rivals)} are each the {trait.slot} of one neuron; keep one")
        return tuple(sorted(traits, key=lambda trait: trait.slot))

    def having(self, trait: Trait) -> "LIF":
        """This neuron with one more trait, in place of what had its slot."""
        kept = tuple(other for other in self.traits if other.slot != trait.slot)
        return LIF.model_validate({**dict(self), "traits": (*kept, trait)})

    def build(self, *, steps: int) -> "Neuron":
        """A fresh module for one layer of a network that runs for `steps` time steps."""
        return Neuron(self, steps=steps)

    @property
    def noisy(self) -> bool:
        """Whether two calls in eval mode can differ."""
        return any(trait.noisy for trait in self.traits)


class Neuron(nn.Module):
    """Current [T, N, *F], or [1, N, *F] if it does not change over time, to spikes [T, N, *F].

    `rule` is set by `use_rule`, `watch` and `seen` by `layers.watching`, `slopes` and `factors` by `slices.py`; all are put
    back when their block ends. The membrane is kept in float32 or better; spikes come back in the dtype of the current.
    """

    def __init__(self, settings: LIF, *, steps: int) -> None:
        super().__init__()
        self.settings = settings
        self.steps = steps
        self.rule: GradientRule | None = None
        self.watch: Watch | None = None
        self.seen: list[Membrane] = []
        self.slopes: list[Tensor] | None = None
        self.factors: Iterator[Tensor] | None = None
        self.mechanisms = nn.ModuleList(trait.build(steps=steps) for trait in settings.traits)

    def normalises(self, current: Tensor) -> bool:
        """Whether `forward` can normalise this current as it reads it: not if anybody else wants to see it."""
        rule, mechanisms = self.rule or BPTT(), cast(Iterable[Mechanism], self.mechanisms)
        return (
            self.factors is None
            and isinstance(rule, BPTT)
            and not (self.watch and self.watch.current)
            and not (self.mechanisms and current.element_size() == 2)
            and not any(mechanism.needs_current for mechanism in mechanisms)
            and normalises(current, surrogate=rule.surrogate or self.settings.surrogate, watch=self.watch)
        )

    def forward(self, current: Tensor, *, norm: Normalisation | None = None) -> Tensor:
        """The spikes; `norm` is what is done to the current first, for a neuron that `normalises` it."""
        if self.factors is not None:
            return current * next(self.factors)
        if current.shape[0] not in (1, self.steps):
            raise RequestError(f"this neuron runs for {self.steps} steps, found a current of shape {tuple(current.shape)}")
        mechanisms: list[Any] = list(self.mechanisms)
        rule = self.rule or BPTT()
        half = current.dtype in (torch.bfloat16, torch.float16)
        given = current.float() if half and (mechanisms or not rule.half or (self.watch and self.watch.current)) else current
        precise, leak = given, None
        for mechanism in mechanisms:
            mechanism.settle(given)
            precise = mechanism.scaled(precise)
        for mechanism in mechanisms:
            own = mechanism.leak(precise)
            leak = own if leak is None else leak
        spikes, seen = rule.spikes(
            precise,
            steps=self.steps,
            dynamics=self.settings,
            surrogate=self.settings.surrogate,
            watch=self.watch,
            noise=next((noise for mechanism in mechanisms if (noise := mechanism.noise()) is not None), None),
            leak=leak,
            inside=tuple(mechanism for mechanism in mechanisms if mechanism.inside),
            **({} if norm is None else {"norm": norm}),
        )
        if seen is not None:
            self.seen.append(replace(seen, current=given) if self.watch and self.watch.current else seen)
        if self.slopes is not None and isinstance(rule, SlopeRule):
            self.slopes.append(rule.slope(precise, spikes, self.settings).to(current.dtype))
        for mechanism in mechanisms:
            spikes = mechanism.passed_on(spikes)
        return spikes.to(current.dtype)

    @property
    def window(self) -> float:
        """Half width of the interval around the threshold that lets gradient through: its surrogate's, or its trait's."""
        firing = next((mechanism for mechanism in self.mechanisms if isinstance(mechanism, Firing)), None)
        return self.settings.surrogate.window if firing is None else firing.window

    def extra_repr(self) -> str:
        return f"{self.settings}, steps={self.steps}"


def mechanisms_of(model: nn.Module, kind: type[M]) -> list[M]:
    """The mechanisms of this class in a model, in the order of their layers."""
    return [module for module in model.modules() if isinstance(module, kind)]


def neurons_of(model: nn.Module) -> dict[str, Neuron]:
    """The neurons of a model by their module path, in the order in which they were made."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Neuron)}


@contextmanager
def use_rule(model: nn.Module, rule: GradientRule | None, *, memory: Memory | None = None) -> Iterator[None]:
    """Within the block every neuron of `model` differentiates by `rule` (None: its own). Restored on any exit.

    What the rule keeps of a sample from one call to the next lies in `memory`; without one every call is the first.
    Raises `RequestError` if a rule is given and the model has no neuron that could follow it.
    """
    neurons = neurons_of(model) if isinstance(model, nn.Module) else {}
    if rule is not None and not neurons:
        raise RequestError(f"{rule} was asked for, but {type(model).__name__} contains no SNNGuard neuron to follow it")
    saved = [neuron.rule for neuron in neurons.values()]
    try:
        for layer, neuron in neurons.items():
            neuron.rule = rule.at(layer, memory) if rule is not None else neuron.rule
        yield
    finally:
        for neuron, old in zip(neurons.values(), saved, strict=True):
            neuron.rule = old


def lif(
    current: Tensor,
    *,
    decay: float = 1.0,
    threshold: float = 1.0,
    reset: Reset = "zero",
    detach_reset: bool = False,
    surrogate: Surrogate = DEFAULT_SURROGATE,
) -> Tensor:
    """Spikes [T, N, *F] of a current [T, N, *F]: the functional form of `LIF`."""
    settings = LIF(decay=decay, threshold=threshold, reset=reset, detach_reset=detach_reset, surrogate=surrogate)
    return BPTT().spikes(current, steps=len(current), dynamics=settings, surrogate=surrogate)[0]
