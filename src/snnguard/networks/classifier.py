"""The contract of every network: raw images in, logits out, no state kept between calls."""

from typing import final

from torch import Tensor, nn

from snnguard.encoders import Encoder
from snnguard.errors import InvalidInput
from snnguard.layers import Normalize
from snnguard.neurons import neurons_of


@final
class SpikingClassifier(nn.Module):
    """readout(body(encoder(x))): raw images [N, C, H, W] to logits [N, K], the mean over time of the last layer.

    `body` maps [T or 1, N, C, H, W] to [T, N, K]. Its parameters and statistics are the whole state dict.
    """

    def __init__(
        self, body: nn.Module, *, name: str, encoder: Encoder, normalize: Normalize, steps: int,
        image_shape: tuple[int, int, int],
    ) -> None:  # fmt: skip
        super().__init__()
        self.name, self.encoder, self.steps, self.image_shape = name, encoder, steps, image_shape
        self.normalize = normalize
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != self.image_shape:
            raise InvalidInput(
                f"{self.name} was built for images {self.image_shape}, found a batch of shape {tuple(x.shape)}; "
                "build it with image_shape=... of your images"
            )
        frames = self.encoder.encode(x, steps=self.steps, normalize=self.normalize)
        logits: Tensor = self.body(frames).mean(0)
        return logits

    @property
    def stochastic(self) -> bool:
        """Whether two calls in eval mode can differ, so that attacks need an expectation over draws."""
        return self.encoder.noisy or any(neuron.settings.noisy for neuron in neurons_of(self).values())
