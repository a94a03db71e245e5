"""Adversarial training: train on attacked images instead of clean ones."""

from typing import ClassVar, Self, final

from torch import nn

from snnguard import rng
from snnguard.attacks import PGD, Attack
from snnguard.threat import Linf, Threat

from .defense import Batch, Defense, Step


@final
class AdversarialTraining(Defense, kind="at"):
    """Every training image is replaced by what `attack` makes of it under `threat`.

    The attack's shell holds the network in eval mode, so normalisation statistics and parameter gradients are untouched
    by the crafting. SOURCE: Madry 2018; two PGD steps of 1/255 at eps = 2/255 as in SNN-RAT and MPD-SGR.
    """

    changes: ClassVar[str] = "data"
    source: ClassVar[str] = "Madry et al., ICLR 2018"
    claims: ClassVar[tuple[str, ...]] = ("craft the adversarial images",)

    attack: Attack = PGD(steps=2, step_size=1 / 255)
    threat: Threat = Linf(eps=2 / 255)

    def batch(self, model: nn.Module, batch: Batch, step: Step) -> Batch:
        if self.threat.eps == 0:
            return batch
        # A seed of its own: with the step's, the attack on a random network would know the draws of the training pass.
        seed = rng.derive(step.seed, "at")
        return batch.with_x(self.attack(model, self.threat.clip(batch.x), batch.y, threat=self.threat, seed=seed))

    @classmethod
    def example(cls) -> Self:
        return cls(attack=PGD(steps=1, step_fraction=1.0))
