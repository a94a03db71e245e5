"""MART: adversarial training that weighs each image by how unsure the network is of it when it is clean."""

from typing import ClassVar, Self, final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from snnguard.attacks import Attack, hard
from snnguard.threat import Threat

from .adversarial_training import AdversarialTraining
from .defense import Batch, Defense, Step
from .divergence import divergence

LIKE_AT = AdversarialTraining()


@final
class MART(Defense, kind="mart"):
    """BCE(p(x'), y) + weight * KL(p(x) || p(x')) * (1 - p_y(x)), BCE = -log p_y(x') - log(1 - max_{k != y} p_k(x')).

    p = softmax(z); x' is what `attack` makes of x by its own loss (cross-entropy). The last factor carries a gradient too, as
    in the published code. With soft labels -log p_y is the cross-entropy, and y elsewhere their most likely class. `weight`
    0 leaves BCE; only the radius 0 is plain training. SOURCE: Wang 2020, weight 5. DEVIATION: attack and radius are those of
    `at` here; log(1 - p_k) is taken from the logits, exact and finite, where the published code adds 0.0001 inside it.
    """

    changes: ClassVar[str] = "loss, data"
    source: ClassVar[str] = "Wang et al., ICLR 2020 (MART)"
    claims: ClassVar[tuple[str, ...]] = AdversarialTraining.claims

    weight: float = Field(default=5.0, ge=0)
    attack: Attack = LIKE_AT.attack
    threat: Threat = LIKE_AT.threat

    def batch(self, model: nn.Module, batch: Batch, step: Step) -> Batch:
        return AdversarialTraining(attack=self.attack, threat=self.threat).batch(model, batch, step)

    def objective(self, model: nn.Module, batch: Batch, logits: Tensor, step: Step) -> Tensor | None:  # noqa: ARG002
        if self.threat.eps == 0:
            return None
        loss: Tensor = functional.cross_entropy(logits, batch.y) + rival_term(logits, hard(batch.y)).mean()
        if self.weight == 0:
            return loss
        clean: Tensor = model(batch.clean)
        unsure = 1 - clean.softmax(1).gather(1, hard(batch.y)[:, None])[:, 0]
        return loss + self.weight * (divergence(clean, logits) * unsure).mean()

    @classmethod
    def example(cls) -> Self:
        return cls(attack=AdversarialTraining.example().attack)


def rival_term(logits: Tensor, y: Tensor) -> Tensor:
    """-log(1 - p_m), m the strongest class but y, [N]. 1 - p_m is the others' share: exact where p_m rounds to 1."""
    m = logits.detach().scatter(1, y[:, None], -torch.inf).argmax(1, keepdim=True)
    return logits.logsumexp(1) - logits.scatter(1, m, -torch.inf).logsumexp(1)
