"""RecDis-SNN: membranes whose distribution neither leaves the threshold nor the surrogate's window nor huddles in it."""

from typing import ClassVar, Self, final

import torch
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor, nn

from snnguard.neurons import Watch, neurons_of

from .defense import Batch, Defense, Step


@final
class RecDis(Defense, kind="recdis"):
    """Loss + three hinges on mu and sigma of ubar = u - threshold, per channel and time step, averaged over layers.

        degeneration  (|mu| - outer sigma)_+^2              all of a channel is on one side of the threshold
        saturation    (window - (|mu| + outer sigma))_+^2   all of it is inside the surrogate's window
        mismatch      (|mu| + inner sigma - window)_+^2     its middle half is not inside the window

    each with its own weight. mu +- outer sigma are its ends and mu +- inner sigma its quartiles, were it Gaussian, and
    the window that of each neuron's surrogate unless `window` is given. All three are zero together, at mu = 0 for sigma
    from window / outer to window / inner.
    SOURCE: Guo 2022 (RecDis-SNN, CVPR), which names the three. DEVIATION: a reconstruction; the hinges, the weights 0.1,
    outer 2 and inner 0.6745 (the normal distribution's upper quartile) are ours.
    """

    changes: ClassVar[str] = "loss"
    source: ClassVar[str] = "Guo et al., CVPR 2022 (RecDis-SNN)"

    degeneration: float = Field(default=0.1, ge=0)
    saturation: float = Field(default=0.1, ge=0)
    mismatch: float = Field(default=0.1, ge=0)
    outer: PositiveFloat = 2.0
    inner: PositiveFloat = 0.6745
    window: PositiveFloat | None = None
    min_sigma: PositiveFloat = 1e-3

    @model_validator(mode="after")
    def _ends_beyond_quartiles(self) -> Self:
        if self.inner >= self.outer:
            raise ValueError("inner must be below outer, or saturation and mismatch could not be avoided together")
        return self

    @property
    def _weights(self) -> tuple[float, float, float]:
        return self.degeneration, self.saturation, self.mismatch

    @property
    def watch(self) -> Watch:
        return Watch(moments=any(self._weights))

    def penalty(self, model: nn.Module, batch: Batch, logits: Tensor, step: Step) -> Tensor | None:  # noqa: ARG002
        if not any(self._weights):
            return None
        neurons = neurons_of(model)
        layers = []
        for name, membrane in step.membranes.items():
            assert membrane.mean is not None
            assert membrane.var is not None
            sigma = membrane.var.clamp_min(self.min_sigma**2).sqrt()
            window = self.window or neurons[name].window
            terms = hinges(membrane.mean, sigma, window=window, outer=self.outer, inner=self.inner)
            weighted = [weight * term.mean() for weight, term in zip(self._weights, terms, strict=True)]
            layers.append(torch.stack(weighted).sum())
        return torch.stack(layers).mean()


def hinges(mu: Tensor, sigma: Tensor, *, window: float, outer: float, inner: float) -> tuple[Tensor, Tensor, Tensor]:
    """Degeneration, saturation and mismatch of each channel and step, in units of u^2, sigma > 0."""
    size = mu.abs()
    found = size - outer * sigma, window - (size + outer * sigma), size + inner * sigma - window
    degeneration, saturation, mismatch = (excess.clamp_min(0).square() for excess in found)
    return degeneration, saturation, mismatch
