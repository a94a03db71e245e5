"""SR: sparse input gradients, by a finite difference instead of a second derivative."""

from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor, nn

from snnguard import rng
from snnguard.attacks import InputGradient, Margin, hard
from snnguard.layers import untracked

from .defense import Batch, Defense, Step
from .schedule import Rise, risen


@final
class SR(Defense, kind="sr"):
    """Loss + weight * mean(((f(x + h v) - f(x)) / h)^2), f = sigmoid(z_y - z_m), v = sign(grad_x f).

    m is the strongest other class at x, kept at x + h v. For a smooth f this tends to the mean of the squared L1 norm of
    its input gradient, with no derivative of a derivative. The extra passes see batch statistics but do not enter the
    running ones. SOURCE: Liu 2024 (SR), h = 0.01 in [0, 1] pixels, no clamp. DEVIATION: the weight is not published; 0.002
    is the middle of the range that the code's file names suggest. f is taken from the difference of logits, so it
    is finite for any logits, and v from the gradient of that difference, which does not vanish with f's.
    """

    changes: ClassVar[str] = "loss"
    source: ClassVar[str] = "Liu et al., ICML 2024 (SR)"

    weight: float = Field(default=0.002, ge=0)
    h: float = Field(default=0.01, gt=0)
    rise: Rise = "constant"

    def penalty(self, model: nn.Module, batch: Batch, logits: Tensor, step: Step) -> Tensor | None:
        weight = risen(self.weight, self.rise, step.progress)
        if weight == 0:
            return None
        y = hard(batch.y)
        rival = logits.detach().scatter(1, y[:, None], -torch.inf).argmax(1)
        # In full precision: rounded to bfloat16, f(x + h v) - f(x) would be lost in the rounding.
        exact = torch.autocast(batch.x.device.type, enabled=False)
        with exact, untracked(model), rng.scope(rng.derive(step.seed, "sr")):
            ascent = InputGradient(loss=Margin(confidence=1e9))(model, batch.x, y)
            moved = batch.x - self.h * ascent.gradient.sign()  # the margin is z_m - z_y: f rises against it
            draw = rng.derive(step.seed, "sr", "draw")
            with rng.scope(draw):
                there = model(moved)
            # A random network is compared with itself under the same draw; another draw would drown the difference.
            if not torch.equal(ascent.logits, logits.detach()):
                with rng.scope(draw):
                    logits = model(batch.x)
        difference = confidence(there, y, rival) - confidence(logits, y, rival)
        return weight * (difference / self.h).square().mean()


def confidence(logits: Tensor, y: Tensor, rival: Tensor) -> Tensor:
    """f = exp(z_y) / (exp(z_y) + exp(z_m)) = sigmoid(z_y - z_m), [N], in float32 or better. SOURCE: SR, eq. of f."""
    z = logits.to(torch.promote_types(logits.dtype, torch.float32))  # bfloat16 would round f by as much as h moves it
    return torch.sigmoid(z.gather(1, y[:, None]) - z.gather(1, rival[:, None]))[:, 0]
