"""Convolutions and linear layers: PyTorch's, done by the matrix units of the processor where they can (`matrix.py`)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from . import matrix
from .matrix import Windows

LARGE = 2**20
"""Weights of a linear layer from which on the units pay. Not a matter of the batch, so that images do not depend on theirs."""


class Conv2d(nn.Conv2d):
    """`torch.nn.Conv2d`; in float32 on a CPU with matrix units it is faster, and its last digits differ.

    There it has one derivative: a second one raises.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        windows = self._windows()
        if windows is None or not _takes(input, weight, bias):
            plain: Tensor = super()._conv_forward(input, weight, bias)
            return plain
        out: Tensor = _Convolution.apply(input, weight, bias, windows)  # type: ignore[no-untyped-call]
        return out

    def _windows(self) -> Windows | None:
        """None for what matrix.c does not do."""
        (stride, other), padding = self.stride, self.padding
        plain = self.groups == 1 and self.dilation == (1, 1) and self.padding_mode == "zeros"
        if not plain or stride != other or isinstance(padding, str) or padding[0] != padding[1]:
            return None
        # Wider padding would leave windows without any pixel.
        return Windows(stride, padding[0]) if padding[0] < min(self.kernel_size) else None


class Linear(nn.Linear):
    """`torch.nn.Linear`, as above; small ones are PyTorch's everywhere."""

    def forward(self, input: Tensor) -> Tensor:
        if self.weight.numel() < LARGE or not _takes(input, self.weight, self.bias):
            return super().forward(input)
        out: Tensor = _Linear.apply(input, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return out


def _takes(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether matrix.c can do it, and it is a plain call: no autocast, no transform of functions."""
    tensors = [x, weight] if bias is None else [x, weight, bias]
    return (
        all(type(tensor) in (Tensor, nn.Parameter) and tensor.dtype == torch.float32 for tensor in tensors)
        and all(tensor.device.type == "cpu" for tensor in tensors)
        and x.numel() > 0
        and x.ndim == weight.ndim
        and x.shape[1] == weight.shape[1]
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._are_functorch_transforms_active()
        and matrix.fits(x.shape[1], weight.shape[0])
    )


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, windows: Windows) -> Tensor:
        x, weight = _channels_last(x), _channels_last(weight)
        ctx.windows, ctx.pieces = windows, matrix.pieces(x)
        ctx.save_for_backward(x, weight)
        return matrix.convolved(x, weight, bias, windows, ctx.pieces)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient = _channels_last(gradient)
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = matrix.input_gradient(gradient, weight, x, ctx.windows)
        if ctx.needs_input_grad[1]:
            of_weight = matrix.weight_gradient(gradient, x, weight, ctx.windows, ctx.pieces)
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum((0, 2, 3))
        return of_x, of_weight, of_bias, None


class _Linear(torch.autograd.Function):
    """A convolution of images of one pixel. Its input gradient is PyTorch's, which is faster there."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x, weight = x.contiguous(), weight.contiguous()
        ctx.pieces = matrix.pieces(x)
        ctx.save_for_backward(x, weight)
        out = x.new_empty(len(x), len(weight))
        matrix.convolve(_pixels(x), _pixels(weight), bias, Windows(1, 0), ctx.pieces, _pixels(out))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = gradient @ weight
        if ctx.needs_input_grad[1]:
            of_weight = matrix.weight_gradient(
                _pixels(gradient), _pixels(x), _pixels(weight), Windows(1, 0), ctx.pieces
            ).flatten(1)
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum(0)
        return of_x, of_weight, of_bias


def _pixels(x: Tensor) -> Tensor:
    """[N, C] as images of one pixel."""
    return x[:, :, None, None]


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
