"""The protocol of a defense: a record of contributions to training, made through a few optional hooks.

The training loop calls the hooks in this order and knows no defense by name:

    design      once, before the network is built: change its description
    teachers    once: networks that must be trained before, each with a defense of its own
    groups      once: parameters with a learning rate or weight decay of their own
    watch       once: membrane quantities that `penalty` needs, delivered by the neurons in the same pass
    prepare     each step, first: move what the network's own parts keep on a schedule
    batch       each step: change the training images (adversarial, noisy) or their labels (soft)
    around      each step: a context that holds during the forward and backward pass
    objective   each step: replace the cross-entropy; at most one in a stack
    penalty     each step: a term to add, already weighted
    constrain   after each optimiser step: project weights, keep averages
    finish      once, after the last step: what the finished network is
    adaptive    never in training: attacks that any honest evaluation of this defense must include

A defense is a frozen value. What it must remember between steps are parameters and buffers of the network that it
designed, or tensors in `Step.memory`; both are saved with the training state, so that resuming is exact.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from torch import Tensor, nn

from snnguard.attacks import Attack
from snnguard.choice import Choice
from snnguard.networks import Network
from snnguard.neurons import Membrane, Watch


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Training images in raw units, [N, C, H, W] or [N, T, C, H, W], and their classes [N] or soft labels [N, K].

    `clean` are the images [N, C, H, W] before any perturbation.
    """

    x: Tensor
    y: Tensor
    clean: Tensor

    def with_x(self, x: Tensor) -> "Batch":
        """The same batch with other training images."""
        return replace(self, x=x)


@dataclass(frozen=True, kw_only=True)
class Step:
    """Where training stands. `progress` runs from 0 before the first step to 1 after the last; `seed` is this step's.

    `membranes` holds what the stack asked to watch, per layer, of the pass that made the logits. `memory` is a
    dictionary that lives as long as the training, under names that begin with the defense's kind. `teachers` are frozen
    networks by the names under which `teachers()` asked for them.
    """

    progress: float
    seed: int
    membranes: dict[str, Membrane]
    classes: int = 0
    new_epoch: bool = False
    memory: dict[str, Tensor] = field(default_factory=dict)
    teachers: Mapping[str, nn.Module] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Parameters with settings of their own; None keeps the recipe's value."""

    parameters: Sequence[nn.Parameter]
    weight_decay: float | None = None
    learning_rate_scale: float = 1.0


class Defense(Choice):
    """Every hook defaults to no contribution; a defense overrides those that it needs.

    `changes` says in words for `snnguard list defenses` what is touched: loss, data, weights, neuron, encoding, residual.
    `claims` names what only one part of a stack can do, besides the objective and the fields of the network.
    """

    changes: ClassVar[str] = ""
    source: ClassVar[str] = ""
    claims: ClassVar[tuple[str, ...]] = ()

    def touches(self) -> str:
        """`changes`, cut to what this instance's settings leave of it."""
        return self.changes

    def credits(self) -> str:
        """Where it comes from."""
        return self.source

    @property
    def watch(self) -> Watch:
        return Watch()

    def design(self, network: Network) -> Network:
        return network

    def teachers(self) -> dict[str, "Defense"]:
        return {}

    def groups(self, model: nn.Module) -> list[Group]:  # noqa: ARG002
        return []

    def prepare(self, model: nn.Module, batch: Batch, step: Step) -> None:  # noqa: ARG002
        return None

    def batch(self, model: nn.Module, batch: Batch, step: Step) -> Batch:  # noqa: ARG002
        return batch

    def around(self, model: nn.Module, batch: Batch, step: Step) -> AbstractContextManager[None]:  # noqa: ARG002
        return nullcontext()

    def objective(self, model: nn.Module, batch: Batch, logits: Tensor, step: Step) -> Tensor | None:  # noqa: ARG002
        return None

    def penalty(self, model: nn.Module, batch: Batch, logits: Tensor, step: Step) -> Tensor | None:  # noqa: ARG002
        return None

    def penalties(self, model: nn.Module, batch: Batch, logits: Tensor, step: Step) -> dict[str, Tensor]:
        """The terms to add, by the name under which they are logged."""
        term = self.penalty(model, batch, logits, step)
        return {} if term is None else {self.kind: term}

    def constrain(self, model: nn.Module, step: Step) -> None:  # noqa: ARG002
        return None

    def finish(self, model: nn.Module, step: Step) -> None:  # noqa: ARG002
        return None

    def adaptive(self) -> tuple[Attack, ...]:
        return ()

    @classmethod
    def example(cls) -> Self:
        """A cheap instance for the contract tests."""
        return cls()
