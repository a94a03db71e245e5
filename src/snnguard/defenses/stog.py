"""StoG: learned stochastic gates behind every neuron."""

from typing import ClassVar, Literal, Self, final

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from snnguard.attacks import Attack
from snnguard.networks import Network
from snnguard.neurons import mechanisms_of
from snnguard.neurons.gate import Gate, StochasticGate

from .coding import EXPECTATION
from .defense import Batch, Defense, Group, Step


@final
class StoG(Defense, kind="stog"):
    """Every spike passes a gate that is open with a learned probability q; loss + prior/2 * sum(q^2) over all gates.

    The gates learn during the first `learn_until` of training and are frozen after it; they take no weight decay. The
    prior closes gates, the loss keeps those open that it needs. `prior_norm` "l1" is prior * sum(q).
    SOURCE: Ding 2024 (StoG): start 1, floor 0.1, prior 5e-6, frozen after 100 of 200 epochs. DEVIATION: see
    `neurons.gate` for the sign of the gradient, which is wrong in the published code.
    """

    changes: ClassVar[str] = "neuron, loss"
    source: ClassVar[str] = "Ding et al. 2024 (StoG)"

    start: float = Field(default=1.0, gt=0, le=1)
    floor: float = Field(default=0.1, gt=0, le=1)
    prior: float = Field(default=5e-6, ge=0)
    prior_norm: Literal["l2", "l1"] = "l2"
    learning_rate_scale: float = Field(default=1.0, ge=0)
    learn_until: float = Field(default=0.5, ge=0, le=1)
    inference: Literal["draw", "expectation"] = "draw"

    @model_validator(mode="after")
    def _starts_above_the_floor(self) -> Self:
        if self.start < self.floor:
            raise ValueError(f"start={self.start} must not be below floor={self.floor}")
        return self

    def design(self, network: Network) -> Network:
        return network.having(StochasticGate(start=self.start, floor=self.floor, inference=self.inference))

    def groups(self, model: nn.Module) -> list[Group]:
        gates = [gate.q for gate in mechanisms_of(model, Gate)]
        return [Group(parameters=gates, weight_decay=0.0, learning_rate_scale=self.learning_rate_scale)]

    def prepare(self, model: nn.Module, batch: Batch, step: Step) -> None:  # noqa: ARG002
        for gate in mechanisms_of(model, Gate):
            gate.q.requires_grad_(step.progress < self.learn_until)

    def penalty(self, model: nn.Module, batch: Batch, logits: Tensor, step: Step) -> Tensor | None:  # noqa: ARG002
        if self.prior == 0 or step.progress >= self.learn_until:
            return None
        gates = [gate.q for gate in mechanisms_of(model, Gate)]
        squares = [0.5 * q.square().sum() if self.prior_norm == "l2" else q.sum() for q in gates]
        return self.prior * torch.stack(squares).sum()

    def constrain(self, model: nn.Module, step: Step) -> None:  # noqa: ARG002
        for gate in mechanisms_of(model, Gate):
            gate.project()

    def adaptive(self) -> tuple[Attack, ...]:
        return (EXPECTATION,) if self.inference == "draw" else ()
