"""Threshold-dependent batch normalisation."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from .across import devices, moments


class TDBN(nn.BatchNorm2d):
    """alpha * threshold * (I - mean) / sqrt(var + eps), then the affine map; statistics over (T, N, H, W).

    Input and output [T*N, C, H, W]. With alpha * threshold = 1 it is batch normalisation, bit for bit.
    SOURCE: Zheng 2021. DEVIATION: the appendix of MPD-SGR writes sqrt(var) + eps; every code has sqrt(var + eps).
    DEVIATION: where a current is the same in all T steps it is normalised once, so the running variance is corrected by
    n / (n - 1) with n = N H W instead of T N H W, a difference below 1e-4 for any real batch.
    """

    def __init__(self, channels: int, *, alpha: float = 1.0, threshold: float = 1.0) -> None:
        super().__init__(channels)
        self.scale = alpha * threshold

    def forward(self, x: Tensor) -> Tensor:
        if self.training and devices() > 1:
            return self._across_devices(x)
        if self.scale == 1:
            return super().forward(x)
        # (scale * normalised) * weight + bias = normalised * (scale * weight) + bias
        self._check_input_dim(x)
        if self.training and self.num_batches_tracked is not None:
            with torch.no_grad():
                self.num_batches_tracked.add_(1)
        return functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight * self.scale, self.bias,
            self.training, self.momentum or 0.0, self.eps,
        )  # fmt: skip

    def _across_devices(self, x: Tensor) -> Tensor:
        """The statistics of the whole batch, of which each device has its share."""
        over = (0, 2, 3)
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        mean, var = moments(wide.mean(over), wide.var(over, correction=0))
        with torch.no_grad():
            count = devices() * x.numel() // x.shape[1]
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum or 0.0)
            self.running_var.lerp_(var * count / max(1, count - 1), self.momentum or 0.0)
        slope = self.scale * self.weight * (var + self.eps).rsqrt()
        return (wide * slope[:, None, None] + (self.bias - mean * slope)[:, None, None]).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.num_features}, scale={self.scale}"
