"""The contract of every network: raw images in, logits out, no state kept between calls."""

from contextlib import nullcontext
from typing import final

import torch
from torch import Tensor, nn

from snnguard.encoders import Encoder
from snnguard.errors import InvalidInput
from snnguard.layers import Normalize, recomputed
from snnguard.neurons import neurons_of, packed_spikes

from .slices import has_one_slice, through_one_slice


@final
class SpikingClassifier(nn.Module):
    """readout(body(encoder(x))): raw images [N, C, H, W] to logits [N, K], the mean over time of the last layer.

    Images may differ from step to step: [N, T, C, H, W]. `input_noise` is added anew in every call. `body` maps
    [T or 1, N, C, H, W] to [T, N, K]. Its parameters and statistics are the whole state dict. With `recompute` training
    forgets activations and makes them again in the backward pass.
    """

    def __init__(
        self, body: nn.Module, *, name: str, encoder: Encoder, normalize: Normalize, steps: int,
        image_shape: tuple[int, int, int], input_noise: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.input_noise = input_noise
        self.name, self.encoder, self.steps, self.image_shape = name, encoder, steps, image_shape
        self.normalize = normalize
        self.body = body
        self.recompute = False

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) not in (self.image_shape, (self.steps, *self.image_shape)):
            raise InvalidInput(
                f"{self.name} was built for images {self.image_shape}, found a batch of shape {tuple(x.shape)}; "
                "build it with image_shape=... of your images"
            )
        images = x[None] if x.ndim == 1 + len(self.image_shape) else x.transpose(0, 1)
        if self.input_noise:
            images = images + self.input_noise * torch.randn_like(images[0])
        frames = self.encoder.encode(images, steps=self.steps, normalize=self.normalize)
        if has_one_slice(self.body):
            return through_one_slice(self.body, frames)
        learns = self.training and torch.is_grad_enabled()
        with packed_spikes() if learns else nullcontext():
            trains = recomputed(self.body, frames) if learns and self.recompute else self.body(frames)
        logits: Tensor = trains.mean(0)
        return logits

    @property
    def stochastic(self) -> bool:
        """Whether two calls in eval mode can differ, so that attacks need an expectation over draws."""
        return self.input_noise > 0 or self.encoder.noisy or any(neuron.settings.noisy for neuron in neurons_of(self).values())
