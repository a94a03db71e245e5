"""TRADES: the clean loss, plus how far an attack can pull the prediction away from the clean one."""

from typing import ClassVar, Self, final

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from snnguard import rng
from snnguard.attacks import Attack, predict
from snnguard.threat import Threat

from .adversarial_training import AdversarialTraining
from .defense import Batch, Defense, Step
from .divergence import divergence

LIKE_AT = AdversarialTraining()


@final
class TRADES(Defense, kind="trades"):
    """CE(z(x), y) + beta * KL(p(x) || p(x')), p = softmax(z), with x' in the ball such that this KL is large.

    `attack` looks for x' with p(x) as soft labels: their cross-entropy is the KL plus a constant. Both passes of the loss are
    in training mode, carry gradients and enter the running statistics, as in the published code; what other parts watch is the
    pass on x'. With `beta` or the radius 0 it is plain training. SOURCE: Zhang 2019, beta 6. DEVIATION: attack and radius are
    those of `at` here (two steps of 1/255, eps 2/255); the start is uniform in the ball instead of 0.001 * N(0, 1), which
    moves hardly a spike: while no spike moves, p(x') = p(x) and the gradient is zero, or rounding, in any direction.
    """

    changes: ClassVar[str] = "loss, data"
    source: ClassVar[str] = "Zhang et al., ICML 2019 (TRADES)"
    claims: ClassVar[tuple[str, ...]] = AdversarialTraining.claims

    beta: float = Field(default=6.0, ge=0)
    attack: Attack = LIKE_AT.attack
    threat: Threat = LIKE_AT.threat

    @model_validator(mode="after")
    def _starts_away_from_the_image(self) -> Self:
        # At x' = x the KL is at its minimum: an attack that starts there has no gradient and never leaves.
        if not getattr(self.attack, "random_start", True):
            raise ValueError(f"the KL has no gradient at the image itself; give {self.attack.kind} random_start = true")
        return self

    @property
    def _off(self) -> bool:
        return self.beta == 0 or self.threat.eps == 0

    def batch(self, model: nn.Module, batch: Batch, step: Step) -> Batch:
        if self._off:
            return batch
        with rng.scope(rng.derive(step.seed, "trades", "reference")):
            logits = predict(model, batch.x)
        soft = logits.softmax(1, dtype=torch.promote_types(logits.dtype, torch.float32))
        return batch.with_x(self.attack(model, batch.x, soft, threat=self.threat, seed=rng.derive(step.seed, "trades")))

    def objective(self, model: nn.Module, batch: Batch, logits: Tensor, step: Step) -> Tensor | None:  # noqa: ARG002
        if self._off:
            return None
        clean = model(batch.clean)
        return functional.cross_entropy(clean, batch.y) + self.beta * divergence(clean, logits).mean()

    @classmethod
    def example(cls) -> Self:
        return cls(attack=AdversarialTraining.example().attack)
