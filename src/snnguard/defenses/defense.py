"""The protocol of a defense: a record of contributions to training, made through a few optional hooks.

The training loop calls the hooks in this order and knows no defense by name:

    design      once, before the network is built: change its description
    groups      once: parameters with a learning rate or weight decay of their own
    watch       once: membrane quantities that `penalty` needs, delivered by the neurons in the same pass
    batch       each step: change the training images (adversarial, noisy)
    objective   each step: replace the cross-entropy; at most one in a stack
    penalty     each step: a term to add, already weighted
    constrain   after each optimiser step: project weights
    adaptive    never in training: attacks that any honest evaluation of this defense must include
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import Tensor, nn

from snnguard.attacks import Attack
from snnguard.choice import Choice
from snnguard.networks import Network
from snnguard.neurons import Membrane, Watch


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Training images [N, C, H, W] in raw units and their classes [N]; `clean` are the images before any defense."""

    x: Tensor
    y: Tensor
    clean: Tensor

    def with_x(self, x: Tensor) -> "Batch":
        """The same batch with other training images."""
        return replace(self, x=x)


@dataclass(frozen=True, kw_only=True)
class Step:
    """Where training stands. `progress` runs from 0 before the first step to 1 after the last; `seed` is this step's.

    `membranes` holds what the stack asked to watch, per layer, of the pass that made the logits.
    """

    progress: float
    seed: int
    membranes: dict[str, Membrane]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Parameters with settings of their own; None keeps the recipe's value."""

    parameters: Sequence[nn.Parameter]
    weight_decay: float | None = None
    learning_rate_scale: float = 1.0


class Defense(Choice):
    """Every hook defaults to no contribution; a defense overrides those that it needs.

    `changes` says in words for `snnguard list defenses` what is touched: loss, data, weights, neuron, encoding, residual.
    """

    changes: ClassVar[str] = ""
    source: ClassVar[str] = ""

    @property
    def watch(self) -> Watch:
        return Watch()

    def design(self, network: Network) -> Network:
        return network

    def groups(self, model: nn.Module) -> list[Group]:  # noqa: ARG002
        return []

    def batch(self, model: nn.Module, batch: Batch, step: Step) -> Batch:  # noqa: ARG002
        return batch

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

    def adaptive(self) -> tuple[Attack, ...]:
        return ()

    @classmethod
    def example(cls) -> Self:
        """A cheap instance for the contract tests."""
        return cls()
