"""Mixup: images and labels of a batch are mixed in pairs."""

import random
from dataclasses import replace
from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor, nn

from snnguard import rng

from .defense import Batch, Defense, Step
from .label_smoothing import soft


@final
class Mixup(Defense, kind="mixup"):
    """x <- lam x + (1 - lam) x[p], y <- lam y + (1 - lam) y[p]; per batch one lam ~ Beta(alpha, alpha) and one permutation p.

    The clean images are mixed with the same lam and p, so that they stay the clean version of what is trained on. Before
    `at` in a stack, the mixed images are attacked, with mixed labels; behind it, adversarial and clean images are mixed alike,
    and the result stays in the ball around the mixed clean image. `alpha` 0 is plain training.
    SOURCE: Zhang 2018 (mixup), alpha 1 as for its CIFAR networks (0.2 to 0.4 for ImageNet), one lam per batch as in its code.
    """

    changes: ClassVar[str] = "data"
    source: ClassVar[str] = "Zhang et al., ICLR 2018 (mixup)"
    claims: ClassVar[tuple[str, ...]] = ("mix the images",)

    alpha: float = Field(default=1.0, ge=0)

    def batch(self, model: nn.Module, batch: Batch, step: Step) -> Batch:  # noqa: ARG002
        if self.alpha == 0:
            return batch
        seed = rng.derive(step.seed, "mixup")
        share = random.Random(seed).betavariate(self.alpha, self.alpha)
        other = torch.randperm(len(batch.y), generator=torch.Generator().manual_seed(seed)).to(batch.y.device)

        def mixed(tensor: Tensor) -> Tensor:
            return torch.lerp(tensor[other], tensor, share)

        clean = mixed(batch.clean)
        # The same object where nothing was perturbed: that is how later parts see that the images are clean.
        x = clean if batch.x is batch.clean else mixed(batch.x)
        return replace(batch, x=x, y=mixed(soft(batch.y, classes=step.classes, like=batch.clean)), clean=clean)
