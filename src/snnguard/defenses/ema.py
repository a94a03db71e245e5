"""EMA: the finished network is a running average of the networks on the way."""

from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor, nn

from .defense import Defense, Step

COUNT = "ema.updates"


@final
class EMA(Defense, kind="ema"):
    """A <- d_n A + (1 - d_n) W after each step, d_n = min(decay, (1 + n) / (10 + n)); at the end the network becomes A.

    W are all parameters and all floating-point buffers but single numbers, so that normalisation statistics follow; n counts
    from 1, and A begins as W after the first step. Training itself, and the metrics written during it, are those of W. Where
    other parts of a stack change weights after the step, stand behind them. `decay` 0 is plain training. SOURCE: Polyak &
    Juditsky 1992, for robust training Gowal 2020 (0.995); the warm-up is TensorFlow's. DEVIATION: 0.999 is our default.
    """

    changes: ClassVar[str] = "weights"
    source: ClassVar[str] = "Polyak & Juditsky 1992; Gowal et al. 2020 (arXiv 2010.03593)"

    decay: float = Field(default=0.999, ge=0, lt=1)

    @torch.no_grad()
    def constrain(self, model: nn.Module, step: Step) -> None:
        if self.decay == 0:
            return
        n = int(step.memory.get(COUNT, torch.zeros(())))
        kept = min(self.decay, (1 + n) / (10 + n))
        for name, tensor in floating(model).items():
            if n == 0:
                step.memory[f"ema.{name}"] = tensor.clone()
            else:
                step.memory[f"ema.{name}"].lerp_(tensor, 1 - kept)  # A + (1 - d) (W - A): exact where W = A
        step.memory[COUNT] = torch.tensor(n + 1)

    @torch.no_grad()
    def finish(self, model: nn.Module, step: Step) -> None:
        if COUNT not in step.memory:
            return
        for name, tensor in floating(model).items():
            tensor.copy_(step.memory[f"ema.{name}"])


def floating(model: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers that are saved with the model and can be averaged, by name; not copies.

    A buffer of a single number is a place on a schedule and no statistic: its average would lag behind.
    """
    learned = {name for name, _ in model.named_parameters()}
    held = {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
    return {name: tensor for name, tensor in held.items() if name in learned or tensor.ndim}
