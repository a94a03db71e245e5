"""Thresholds that keep the membrane on its course: the TA-LIF neuron of HoSNN."""

from collections.abc import Sequence
from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor, nn

from snnguard.errors import RequestError

from .trait import Mechanism, Slot, Trait


@final
class HomeostaticThreshold(Trait, kind="homeostatic-threshold"):
    """threshold + shift[t], shift[t] = leak * shift[t-1] + rate * (u[t-1] - u*[t-1]), shift[0] = 0.

    u is the membrane before reset and u* [T, *F] its signature: the mean course that it takes on clean images, one per
    neuron. A membrane above its course finds a higher threshold in the next step. Until a signature was recorded the
    neuron is LIF. The shift is differentiated like the rest, so that an attacker sees through it.
    SOURCE: Geng 2025 (HoSNN), d threshold/dt = k (u - u*). DEVIATION: a reconstruction in discrete time, with a leak of
    the shift and one fixed rate for all neurons; both values are ours. It ties the network to its image size and steps.
    """

    slot: ClassVar[Slot] = "threshold"
    source: ClassVar[str] = "Geng & Li, TMLR 2025 (HoSNN, arXiv 2308.10373)"

    rate: float = Field(default=0.2, ge=0)
    leak: float = Field(default=0.8, ge=0, le=1)

    def build(self, *, steps: int) -> Mechanism:
        return Homeostasis(self, steps=steps)


@final
class Homeostasis(Mechanism):
    """The thresholds of one layer. `signature` is u* [T, *F], `recorded` the number of batches it is the mean of."""

    inside: ClassVar[bool] = True
    signature: Tensor
    recorded: Tensor

    def __init__(self, settings: HomeostaticThreshold, *, steps: int) -> None:
        super().__init__()
        self.settings, self.steps = settings, steps
        self.register_buffer("signature", nn.UninitializedBuffer())
        self.register_buffer("recorded", torch.zeros((), dtype=torch.int64))

    def settle(self, current: Tensor) -> None:
        if isinstance(self.signature, nn.UninitializedBuffer):
            self.signature.materialize((self.steps, *current.shape[2:]), device=current.device, dtype=current.dtype)
            self.signature.zero_()

    def shift(self, membranes: Sequence[Tensor], *, threshold: float) -> Tensor | None:  # noqa: ARG002
        if not membranes:
            return None
        # From the beginning in each step: a mechanism keeps nothing between calls, and there are few steps.
        shift = torch.zeros_like(membranes[0])
        for u, course in zip(membranes, self.signature, strict=False):
            shift = self.settings.leak * shift + self.settings.rate * (u - course)
        # Decided by a tensor, so that a GPU need not be asked in every step.
        return torch.where(self.recorded > 0, shift, torch.zeros_like(shift))

    @torch.no_grad()
    def record(self, u: Tensor) -> None:
        """Folds the membranes [T, N, *F] of one more batch into the signature, which is the mean over all batches.

        Raises `RequestError` if they are those of another layer.
        """
        if u.shape[:1] + u.shape[2:] != self.signature.shape:
            raise RequestError(
                f"a signature of shape {tuple(self.signature.shape)} cannot be taken from membranes of {tuple(u.shape)}"
            )
        self.recorded += 1
        self.signature += (u.mean(1).to(self.signature.dtype) - self.signature) / self.recorded
