"""Batch normalisation on the way into a neuron: what a kernel needs to know of it to do it while it reads the current."""

from typing import NamedTuple

from torch import Tensor


class Normalisation(NamedTuple):
    """(x - mean) / sqrt(var + eps) * weight + bias, all [C].

    With `of_batch` mean and var (biased) are those of this very current, and the gradient flows through them.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    var: Tensor
    eps: float
    of_batch: bool

    def affine(self) -> tuple[Tensor, Tensor]:
        """Slope and offset [C], in float32 or better, so that it is slope * x + offset."""
        weight, bias, mean, var = (
            values.float() if values.element_size() == 2 else values for values in (self.weight, self.bias, self.mean, self.var)
        )
        slope = weight * (var + self.eps).rsqrt()
        return slope, bias - mean * slope

    def over(self, x: Tensor) -> Tensor:
        """The same of x [B, C, H, W] by PyTorch, with the roundings of the compiled kernel."""
        slope, offset = (values[:, None, None] for values in self.affine())
        return (x * slope + offset).to(x.dtype)

    def gradients(self, total: Tensor, product: Tensor, slope: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of weight and of bias, and what dL/dx has beside slope * dL/dI: constant + linear * (x - mean), all [C].

        Given the sums over `count` elements of dL/dI and of dL/dI * (x - mean), for I = `over(x)`, and the slope.
        """
        precision = (self.var.double() + self.eps).rsqrt()
        weight = product * precision
        if not self.of_batch:
            return weight, total, total * 0, total * 0
        return weight, total, -slope * total / count, -slope * precision * weight / count
