"""Threshold-dependent batch normalisation."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from snnguard.neurons import Normalisation, batch_moments

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

    def on_the_way(self, x: Tensor) -> Normalisation | None:
        """What `forward` does to `x` [S, N, C, H, W], for a neuron that does it as it reads; None where only `forward` can.

        As with `forward`, the running statistics move in training mode.
        """
        mean, var, count = self.running_mean, self.running_var, x.numel() // max(self.num_features, 1)
        if mean is None or var is None or self.num_batches_tracked is None or not self.affine or self.momentum is None:
            return None  # settings that no network here has
        if x.ndim != 5 or x.shape[2] != self.num_features or devices() > 1 or (self.training and count < 2):
            return None
        if self.training:
            mean, var = batch_moments(x)
            self._track(mean, var, count)
        weight = self.weight if self.scale == 1 else self.weight * self.scale
        return Normalisation(weight, self.bias, mean, var, self.eps, of_batch=self.training)

    @torch.no_grad()
    def _track(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Moves the running statistics towards those of a batch; `var` is biased."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        # `data`, as in PyTorch's own: graphs made before stay valid.
        self.running_mean.data.lerp_(mean.to(self.running_mean), self.momentum or 0.0)
        self.running_var.data.lerp_((var * (count / max(1, count - 1))).to(self.running_var), self.momentum or 0.0)

    def _across_devices(self, x: Tensor) -> Tensor:
        """The statistics of the whole batch, of which each device has its share."""
        over = (0, 2, 3)
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        mean, var = moments(wide.mean(over), wide.var(over, correction=0))
        self._track(mean, var, devices() * x.numel() // x.shape[1])
        slope = self.scale * self.weight * (var + self.eps).rsqrt()
        return (wide * slope[:, None, None] + (self.bias - mean * slope)[:, None, None]).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.num_features}, scale={self.scale}"
