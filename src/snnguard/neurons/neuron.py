"""Neurons: values that say which one, modules that do it. A module owns settings, never state between calls."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

import torch
from pydantic import Field
from torch import Tensor, nn

from snnguard.errors import RequestError

from .dynamics import Dynamics, Reset
from .rule import BPTT, GradientRule
from .surrogate import DEFAULT_SURROGATE, Surrogate
from .watch import Membrane, Watch


class LIF(Dynamics, kind="lif"):
    """Leaky integrate-and-fire; `decay=1.0` has no leak. The defaults are those of the RAT family and both seeds."""

    surrogate: Surrogate = DEFAULT_SURROGATE

    def build(self, *, steps: int) -> "Neuron":
        """A fresh module for one layer of a network that runs for `steps` time steps."""
        return Neuron(self, steps=steps)

    @property
    def noisy(self) -> bool:
        """Whether two calls in eval mode can differ."""
        return False

    def noise(self, current: Tensor, *, steps: int, training: bool) -> Tensor | None:  # noqa: ARG002
        """What this neuron adds to its membrane in each step, [T, N, *F], or nothing."""
        return None


@final
class NLIF(LIF, kind="nlif"):
    """LIF that fires with noise: u[t] = decay * v[t-1] + I[t] + xi[t], xi ~ N(0, sigma^2), fresh in every step.

    So it fires with probability Phi((V - threshold) / sigma), where V is the membrane without this step's noise. The
    noise is carried in the state. With `inference_noise=False` the neuron is a plain LIF in eval mode.
    SOURCE: TGO (ICLR 2026). DEVIATION: sigma is not published; 0.2 is ours.
    """

    sigma: float = Field(default=0.2, ge=0)
    inference_noise: bool = False

    @property
    def noisy(self) -> bool:
        return self.inference_noise and self.sigma > 0

    def noise(self, current: Tensor, *, steps: int, training: bool) -> Tensor | None:
        if self.sigma == 0 or not (training or self.inference_noise):
            return None
        return torch.randn((steps, *current.shape[1:]), device=current.device, dtype=current.dtype) * self.sigma


class Neuron(nn.Module):
    """Current [T, N, *F], or [1, N, *F] if it does not change over time, to spikes [T, N, *F].

    `rule` is set by `use_rule`, `watch` and `seen` by `layers.watching`; both are put back when their block ends. The
    membrane is kept in float32 or better; spikes come back in the dtype of the current.
    """

    def __init__(self, settings: LIF, *, steps: int) -> None:
        super().__init__()
        self.settings = settings
        self.steps = steps
        self.rule: GradientRule | None = None
        self.watch: Watch | None = None
        self.seen: list[Membrane] = []

    def forward(self, current: Tensor) -> Tensor:
        if current.shape[0] not in (1, self.steps):
            raise RequestError(f"this neuron runs for {self.steps} steps, found a current of shape {tuple(current.shape)}")
        precise = current.float() if current.dtype in (torch.bfloat16, torch.float16) else current
        noise = self.settings.noise(precise, steps=self.steps, training=self.training)
        if noise is not None:
            precise = precise + noise
        rule = self.rule or BPTT()
        spikes, seen = rule.spikes(
            precise,
            steps=self.steps,
            dynamics=self.settings,
            surrogate=self.settings.surrogate,
            watch=self.watch,
            noise=noise if self.watch else None,
        )
        if seen is not None:
            self.seen.append(seen)
        return spikes.to(current.dtype)

    def extra_repr(self) -> str:
        return f"{self.settings}, steps={self.steps}"


def neurons_of(model: nn.Module) -> dict[str, Neuron]:
    """The neurons of a model by their module path, in the order in which they were made."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Neuron)}


@contextmanager
def use_rule(model: nn.Module, rule: GradientRule | None) -> Iterator[None]:
    """Within the block every neuron of `model` differentiates by `rule` (None: its own). Restored on any exit.

    Raises `RequestError` if a rule is given and the model has no neuron that could follow it.
    """
    neurons = list(neurons_of(model).values()) if isinstance(model, nn.Module) else []
    if rule is not None and not neurons:
        raise RequestError(f"{rule} was asked for, but {type(model).__name__} contains no SNNGuard neuron to follow it")
    saved = [neuron.rule for neuron in neurons]
    try:
        for neuron in neurons:
            neuron.rule = rule if rule is not None else neuron.rule
        yield
    finally:
        for neuron, old in zip(neurons, saved, strict=True):
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
