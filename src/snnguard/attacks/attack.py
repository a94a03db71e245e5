"""The sealed shell of every attack: what it checks, freezes, seeds and guarantees, whatever the algorithm inside does."""

from abc import abstractmethod
from typing import Literal, Self, final

import torch
from torch import Tensor

from snnguard import rng
from snnguard.choice import Choice
from snnguard.errors import AttackFault, InvalidInput
from snnguard.neurons import GradientRule
from snnguard.threat import Threat

from .aim import Aim
from .model import Model, check_labels, frozen, hard, is_soft, predict
from .pieces import at_most

Target = Literal["random", "least-likely"]


class Attack(Choice):
    """`attack(model, x, y, threat=..., seed=...) -> x_adv`: a pure function of its arguments.

    Subclasses give `run`, the algorithm alone. The shell checks images and labels, holds the model in eval mode with
    frozen parameters and normalisation, seeds every generator inside and restores it outside, and refuses a result
    that left ball or range. `target` makes an attack targeted: at a random other class (fixed by the seed and the image),
    or at the class that the model finds least likely; `targets=` names the classes outright. With `batch_size` no more
    images than that go through the model at once: as samples that are lost leave, the places in its batches go to others.
    A random model then draws in another order; of any other nothing changes but what rounding makes of the size of a batch.
    """

    target: Target | None = None

    @property
    def bounded(self) -> bool:
        """Whether the result keeps to the threat's ball. Unbounded attacks keep to the range alone."""
        return True

    @property
    def frugal(self) -> bool:
        """Whether all that it holds of a sample is of the size of an image. A rule that remembers holds far more."""
        rule = getattr(getattr(self, "gradient", None), "rule", None)
        return rule is None or not rule.remembers

    @property
    def thins_out(self) -> bool:
        """Whether its batches get smaller as samples are lost, so that given several, and a `batch_size`, it keeps the model's
        full. Such an attack is frugal, and asks its model through `InputGradient`, `predict` or `Queries` alone."""
        return bool(getattr(self, "early_stop", False)) and self.frugal

    @final
    def __call__(
        self, model: Model, x: Tensor, y: Tensor, *, threat: Threat, seed: int, targets: Tensor | None = None,
        batch_size: int | None = None,
    ) -> Tensor:  # fmt: skip
        if batch_size is not None and batch_size < 1:
            raise InvalidInput(f"batch_size must be at least 1, found {batch_size}")
        threat.check(x)
        check_labels(x, y)
        if len(x) == 0:
            return x.clone()
        x, y = x.detach(), y.detach() if is_soft(y) else y.long()
        with frozen(model), rng.scope(seed), at_most(batch_size):
            reach = self._target(model, x, y, seed, targets)
            x_adv = self.run(model, x, Aim(y, reach, exact=reach is not None), threat, seed).detach()
        if x_adv.shape != x.shape or x_adv.dtype != x.dtype:
            raise AttackFault(f"{self} returned {x_adv.dtype} {tuple(x_adv.shape)}; asked {x.dtype} {tuple(x.shape)}")
        if not torch.isfinite(x_adv).all():
            raise AttackFault(f"{self} returned NaN or infinity")
        if not self.bounded:
            return threat.clip(x_adv)
        inside = threat.contains(x_adv, x, atol=1e-4)
        if not inside.all():
            worst = float(threat.distance(x_adv, x).max())
            raise AttackFault(f"{self} left {threat}: distance {worst:.3g} for {int((~inside).sum())} images")
        return threat.project(x_adv, x)

    def with_rule(self, rule: GradientRule | None) -> Self:
        """The same attack through another gradient rule; one that takes no gradient is the same."""
        if "gradient" not in type(self).model_fields:
            return self
        return self.model_copy(update={"gradient": dict(self)["gradient"].model_copy(update={"rule": rule})})

    @abstractmethod
    def run(self, model: Model, x: Tensor, aim: Aim, threat: Threat, seed: int) -> Tensor:
        """The algorithm, on a model that is held still."""

    @classmethod
    def example(cls) -> Self:
        """A cheap instance for the contract tests."""
        return cls()

    def _target(self, model: Model, x: Tensor, y: Tensor, seed: int, targets: Tensor | None) -> Tensor | None:
        if targets is not None:
            check_labels(x, targets)
            return targets.long()
        if self.target is None:
            return None
        y = hard(y)
        logits = predict(model, x)
        classes = logits.shape[1]
        if classes < 2:
            raise InvalidInput("a targeted attack needs at least two classes")
        check_labels(x, y, classes)
        if self.target == "least-likely":
            return logits.scatter(1, y[:, None], torch.inf).argmin(1)
        shift = 1 + (rng.uniform(x.flatten(1), rng.derive(seed, "target"))[:, 0] * (classes - 1)).long()
        return (y + shift.clamp(max=classes - 1)) % classes
