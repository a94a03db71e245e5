"""From an image to what the first layer sees in each time step."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from snnguard.choice import Choice


class Encoder(Choice):
    """Turns raw images [N, C, H, W] into input [T, N, C, H, W], or [1, N, C, H, W] if no step differs from another."""

    noisy: ClassVar[bool] = False

    @abstractmethod
    def encode(self, x: Tensor, *, steps: int, normalize: Callable[[Tensor], Tensor]) -> Tensor:
        """`x` is raw; the encoder decides where the model's normalisation comes in."""


@final
class Direct(Encoder, kind="direct"):
    """The normalised image in every step; given once, so that the first layer is computed once."""

    def encode(self, x: Tensor, *, steps: int, normalize: Callable[[Tensor], Tensor]) -> Tensor:  # noqa: ARG002
        return normalize(x)[None]


@final
class Poisson(Encoder, kind="poisson"):
    """A spike in each step where the pixel exceeds a fresh U(0, 1); not normalised; images in [0, 1].

    The backward pass is the identity in every step. Drawn anew in every call, in eval mode too, so attacks need
    `draws` > 1. SOURCE: RGA's code; the family's convention for Poisson input.
    """

    noisy: ClassVar[bool] = True

    def encode(self, x: Tensor, *, steps: int, normalize: Callable[[Tensor], Tensor]) -> Tensor:  # noqa: ARG002
        spikes: Tensor = _Bernoulli.apply(x.expand(steps, *x.shape))  # type: ignore[no-untyped-call]
        return spikes


class _Bernoulli(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004
        return (x > torch.rand(x.shape, device=x.device, dtype=x.dtype)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # noqa: ARG004
        return grad
