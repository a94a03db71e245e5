"""Normalisation of raw images inside the model, so that attacks live in raw pixel units."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from snnguard.errors import RequestError


class Normalize(nn.Module):
    """(x - mean) / std per channel, [N, C, H, W]. The constants follow the model to its device.

    They are not in the state dict (published checkpoints have none there); the model's card records them.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not all(s > 0 for s in std):
            raise RequestError(f"mean and std need one value per channel and std > 0, found {mean} and {std}")
        self.register_buffer("mean", torch.tensor(mean).reshape(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std
