"""REG: the Parseval retraction of SNN-RAT, which pulls the rows of every weight matrix towards orthonormal."""

from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor, nn

from snnguard import rng
from snnguard.layers import ConvexCombination
from snnguard.networks import Network
from snnguard.neurons import Mechanism

from .defense import Defense, Group, Step


@final
class REG(Defense, kind="reg"):
    """After each optimiser step W <- (1 + beta) W - beta W W^T W for every convolution and linear layer, no weight decay.

    W is [outputs, inputs * kernel]. A linear layer with at least `subset_from` rows retracts a random `subset_share` of
    them in each step. Coefficients of convex residuals are projected onto the simplex. Singular values move as
    s -> s (1 + beta - beta s^2). The published text calls it a penalty; the published code, and the results, are this
    retraction. SOURCE: Ding 2022 (SNN-RAT), beta = 0.004 as in the authors' checkpoint.
    """

    changes: ClassVar[str] = "weights"
    source: ClassVar[str] = "Ding et al., NeurIPS 2022 (SNN-RAT); Cisse et al., ICML 2017"

    beta: float = Field(default=0.004, ge=0)
    subset_from: int = Field(default=200, ge=1)
    subset_share: float = Field(default=0.3, gt=0, le=1)

    def groups(self, model: nn.Module) -> list[Group]:
        if self.beta == 0:
            return []
        learned = {id(p) for module in model.modules() if isinstance(module, Mechanism) for p in module.parameters()}
        # What traits learn is left to whoever brought them.
        return [Group(parameters=[p for p in model.parameters() if id(p) not in learned], weight_decay=0.0)]

    @torch.no_grad()
    def constrain(self, model: nn.Module, step: Step) -> None:
        if self.beta == 0:
            return
        with rng.scope(rng.derive(step.seed, "reg")):
            for module in model.modules():
                if isinstance(module, nn.Conv2d):
                    module.weight.copy_(retract(module.weight.flatten(1), self.beta).view_as(module.weight))
                elif isinstance(module, nn.Linear):
                    self._retract_linear(module.weight)
                elif isinstance(module, ConvexCombination):
                    module.c.copy_(onto_simplex(module.c))

    def _retract_linear(self, weight: Tensor) -> None:
        rows = len(weight)
        if rows < self.subset_from:
            weight.copy_(retract(weight, self.beta))
            return
        chosen = torch.randperm(rows, device=weight.device)[: max(1, round(self.subset_share * rows))]
        weight[chosen] = retract(weight[chosen], self.beta)


def retract(w: Tensor, beta: float) -> Tensor:
    """(1 + beta) W - beta W W^T W, one gradient step on beta/4 ||W W^T - I||^2; [rows, columns]."""
    return (1 + beta) * w - beta * ((w @ w.T) @ w)


def onto_simplex(c: Tensor) -> Tensor:
    """The nearest point with c >= 0 and sum(c) = 1. SOURCE: Duchi 2008."""
    descending, _ = c.sort(descending=True)
    excess = descending.cumsum(0) - 1
    count = torch.arange(1, len(c) + 1, device=c.device)
    last = int((descending - excess / count > 0).sum()) - 1
    return (c - excess[last] / (last + 1)).clamp_min(0)


@final
class ConvexResiduals(Defense, kind="convex-residuals"):
    """Residual blocks merge by a learnable convex combination instead of a sum. SOURCE: Ding 2022 (SNN-RAT)."""

    changes: ClassVar[str] = "residual"
    source: ClassVar[str] = "Ding et al., NeurIPS 2022 (SNN-RAT)"

    def design(self, network: Network) -> Network:
        return network.model_copy(update={"residual": "convex"})
