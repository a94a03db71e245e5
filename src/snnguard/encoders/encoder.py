"""From an image to what the first layer sees in each time step."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from snnguard.choice import Choice


class Encoder(Choice):
    """Turns raw images into input [T, N, C, H, W], or [1, N, C, H, W] if no step differs from another.

    The images come as [1, N, C, H, W], or as [T, N, C, H, W] where they differ from step to step.
    """

    source: ClassVar[str] = ""

    @abstractmethod
    def encode(self, x: Tensor, *, steps: int, normalize: Callable[[Tensor], Tensor]) -> Tensor:
        """`x` is raw; the encoder decides where the model's normalisation comes in."""

    @property
    def noisy(self) -> bool:
        """Whether two calls can differ."""
        return False

    def smoothing_sigma(self, steps: int) -> float:  # noqa: ARG002
        """The standard deviation for which this encoder's own noise smooths the classifier around an image; 0 for none."""
        return 0.0


@final
class Direct(Encoder, kind="direct"):
    """The normalised image in every step; given once, so that the first layer is computed once."""

    def encode(self, x: Tensor, *, steps: int, normalize: Callable[[Tensor], Tensor]) -> Tensor:  # noqa: ARG002
        return normalize(x)


@final
class Poisson(Encoder, kind="poisson"):
    """A spike in each step where the pixel exceeds a fresh U(0, 1); not normalised; images in [0, 1].

    The backward pass is the identity in every step. Drawn anew in every call, in eval mode too, so attacks need
    `draws` > 1. SOURCE: RGA's code; the family's convention for Poisson input.
    """

    @property
    def noisy(self) -> bool:
        return True

    def encode(self, x: Tensor, *, steps: int, normalize: Callable[[Tensor], Tensor]) -> Tensor:  # noqa: ARG002
        spikes: Tensor = _Bernoulli.apply(x.expand(steps, *x.shape[1:]))  # type: ignore[no-untyped-call]
        return spikes


class _Bernoulli(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004
        return (x > torch.rand(x.shape, device=x.device, dtype=x.dtype)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # noqa: ARG004
        return grad
