"""One training over several devices: sums over all of them, which gradients flow through.

Every device has an equal share of each batch. What is not a mean over samples (statistics of a batch, and what is made of
them) has to be shared, so that several devices compute what one would.
"""

from typing import Any

import torch
from torch import Tensor


def devices() -> int:
    """How many devices train together; 1 outside of such a training."""
    there = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if there else 1


def total(tensor: Tensor) -> Tensor:
    """The sum of `tensor` over all devices, on each of them. Its gradient is the sum of the gradients."""
    if devices() == 1:
        return tensor
    shared: Tensor = _Total.apply(tensor)  # type: ignore[no-untyped-call]
    return shared


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:  # noqa: ARG004
        return _summed(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004
        return _summed(gradients[0])


def _summed(tensor: Tensor) -> Tensor:
    tensor = tensor.clone(memory_format=torch.contiguous_format)
    torch.distributed.all_reduce(tensor)
    return tensor


def moments(mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance over all devices, from those of each, which saw equally many values."""
    count = devices()
    if count == 1:
        return mean, var
    shared = total(mean) / count
    return shared, total(var + (mean - shared).square()) / count
