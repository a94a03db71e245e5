"""Convolutions and linear layers: PyTorch's, done by the matrix units of the processor where they can (`matrix.py`)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from snnguard.neurons import holds_spikes

from . import matrix
from .matrix import Windows

LARGE = 2**20
"""Weights of a linear layer from which on the units pay. Not a matter of the batch, so that images do not depend on theirs."""


class Conv2d(nn.Conv2d):
    """`torch.nn.Conv2d`; in float32 on a CPU with matrix units it is faster, and its last digits differ."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        windows = self._windows()
        if windows is None or not _takes(input, weight, bias) or not _has_windows(input, weight, windows):
            plain: Tensor = super()._conv_forward(input, weight, bias)
            return plain
        out: Tensor = _Convolution.apply(input, weight, bias, windows)  # type: ignore[no-untyped-call]
        return out

    def _windows(self) -> Windows | None:
        """None for what matrix.c does not do."""
        stride, padding = self.stride, self.padding
        plain = self.groups == 1 and self.dilation == (1, 1) and self.padding_mode == "zeros"
        if not (plain and isinstance(stride, tuple) and isinstance(padding, tuple)):
            return None
        # Wider padding would leave windows without any pixel.
        same = stride[0] == stride[1] >= 1 and 0 <= padding[0] == padding[1] < min(self.kernel_size)
        return Windows(stride[0], padding[0]) if same else None


class Linear(nn.Linear):
    """`torch.nn.Linear`, as above; small ones are PyTorch's everywhere."""

    def forward(self, input: Tensor) -> Tensor:
        if self.weight.numel() < LARGE or not _takes(input, self.weight, self.bias):
            return super().forward(input)
        out: Tensor = _Linear.apply(input, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return out


def _takes(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether matrix.c can do it, and it is a plain call: no autocast, no transform of functions, nothing that traces."""
    tensors = [x, weight] if bias is None else [x, weight, bias]
    return (
        not torch.compiler.is_compiling()
        and all(type(tensor) in (Tensor, nn.Parameter) and tensor.dtype == torch.float32 for tensor in tensors)
        and all(tensor.device.type == "cpu" and tensor.layout == torch.strided and not tensor.is_neg() for tensor in tensors)
        and x.numel() > 0
        and x.ndim == weight.ndim
        and x.shape[1] == weight.shape[1]
        and (bias is None or bias.shape == weight.shape[:1])
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._are_functorch_transforms_active()
        and not torch._C._is_tracing()
        and forward_ad._current_level < 0
        and matrix.fits(x.shape[1], weight.shape[0])
    )


def _has_windows(x: Tensor, weight: Tensor, windows: Windows) -> bool:
    """Whether no kernel is larger than the images with their padding."""
    return all(size + 2 * windows.padding >= taps for size, taps in zip(x.shape[2:], weight.shape[2:], strict=True))


def again(gradient: Tensor) -> bool:
    """Whether a backward pass is to be differentiated itself, or is done for many gradients at once: then it is PyTorch's."""
    many = torch._C._functorch.is_legacy_batchedtensor(gradient) or torch._C._are_functorch_transforms_active()
    return torch.is_grad_enabled() or many


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, windows: Windows) -> Tensor:
        ctx.save_for_backward(x, weight)  # as they came, for packed spikes and for a second derivative
        given = _channels_last(x)
        ctx.windows, ctx.pieces = windows, 1 if holds_spikes(x) else matrix.pieces(given)
        bias = None if bias is None else bias.contiguous()
        return matrix.convolved(given, _channels_last(weight), bias, windows, ctx.pieces)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (x, weight), windows = gradients, ctx.saved_tensors, ctx.windows
        of_x, of_weight, of_bias, _ = ctx.needs_input_grad
        if again(gradient):
            found: tuple[Tensor | None, ...] = torch.ops.aten.convolution_backward(
                gradient, x, weight, [len(weight)], [windows.stride] * 2, [windows.padding] * 2, [1, 1], False, [0, 0], 1,
                [of_x, of_weight, of_bias],
            )  # fmt: skip
            return *found, None
        gradient = _channels_last(gradient)
        return (
            matrix.input_gradient(gradient, _channels_last(weight), x, windows) if of_x else None,
            matrix.weight_gradient(gradient, _channels_last(x), weight, windows, ctx.pieces) if of_weight else None,
            gradient.sum((0, 2, 3)) if of_bias else None,
            None,
        )


class _Linear(torch.autograd.Function):
    """A convolution of images of one pixel. Its input gradient is PyTorch's, which is faster there."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        given, out = x.contiguous(), x.new_empty(len(x), len(weight))
        ctx.pieces = 1 if holds_spikes(x) else matrix.pieces(given)
        bias = None if bias is None else bias.contiguous()
        matrix.convolve(_pixels(given), _pixels(weight.contiguous()), bias, Windows(1, 0), ctx.pieces, _pixels(out))
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (x, weight) = gradients, ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        by_weight = None
        if of_weight and again(gradient):
            by_weight = gradient.t() @ x
        elif of_weight:
            rows, columns = _pixels(gradient.contiguous()), _pixels(x.contiguous())
            by_weight = matrix.weight_gradient(rows, columns, _pixels(weight), Windows(1, 0), ctx.pieces).flatten(1)
        return gradient @ weight if of_x else None, by_weight, gradient.sum(0) if of_bias else None


def _pixels(x: Tensor) -> Tensor:
    """[N, C] as images of one pixel."""
    return x[:, :, None, None]


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
