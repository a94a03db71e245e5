"""How a network is trained, as one value; the defense and the data are not its business."""

from typing import Literal, Self

import torch
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from snnguard.choice import Choice
from snnguard.errors import RequestError

from .optimiser import SGD, Optimiser


class Training(Choice):
    """`epochs` passes in batches of `batch_size`; the learning rate rises over `warmup_epochs` and then falls as a cosine.

    The defaults are the RAT family's (METHODS 4.1). `checkpoint_seconds` bounds what a crash can cost; how often it is
    saved does not change the result. `probe_size` validation images are looked at after each epoch for the logged
    membrane statistics. With several `devices` each takes its share of every batch and all have the statistics of the whole,
    so that the numbers are those of one device, up to rounding and to what is drawn at random per image. `recompute` saves
    memory at the price of another forward pass per step, without a change in the numbers; a step that runs out of memory
    turns it on by itself, unless several devices train together.
    """

    epochs: PositiveInt = 300
    batch_size: PositiveInt = 128
    optimiser: Optimiser = SGD()
    warmup_epochs: float = Field(default=0.0, ge=0)
    final_learning_rate: float = Field(default=0.0, ge=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    clip_norm: PositiveFloat | None = None
    devices: PositiveInt = 1
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    channels_last: bool = True
    recompute: bool = False
    checkpoint_seconds: PositiveFloat = 120.0
    probe_size: PositiveInt = 256
    max_steps: PositiveInt | None = None

    @model_validator(mode="after")
    def _warmup_ends(self) -> Self:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs={self.warmup_epochs} must end before epochs={self.epochs}")
        return self


def resolve_device(device: str) -> torch.device:
    """The device that "auto" stands for here: CUDA, else Apple's, else the CPU. Raises `RequestError` for an absent one."""
    present = [name for name, there in (("cuda", torch.cuda), ("mps", torch.backends.mps)) if there.is_available()]
    if device not in ("auto", "cpu", *present):
        raise RequestError(
            f"this machine has no {device} device that PyTorch can use; choose auto or {', '.join([*present, 'cpu'])}"
        )
    return torch.device([*present, "cpu"][0] if device == "auto" else device)
