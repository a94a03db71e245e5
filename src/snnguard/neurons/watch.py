"""Membrane quantities that a neuron delivers together with its spikes.

All are functions of `ubar = u - threshold` before the reset (without the noise that a noisy neuron added in that step, and
with the threshold where a trait has moved it):
the mean and biased variance per channel and time step, and the mean hinge `max(0, band - |ubar|)`.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What is wanted. `bands` are half widths around the threshold, in units of `u`."""

    moments: bool = False
    bands: tuple[float, ...] = ()
    potential: bool = False
    current: bool = False

    def __or__(self, other: "Watch") -> "Watch":
        return Watch(
            moments=self.moments or other.moments,
            bands=tuple(sorted({*self.bands, *other.bands})),
            potential=self.potential or other.potential,
            current=self.current or other.current,
        )

    def __bool__(self) -> bool:
        return self.moments or bool(self.bands) or self.potential or self.current


@dataclass(frozen=True, kw_only=True)
class Membrane:
    """What was seen in one layer: `mean` and `var` [T, C], `hinge` one value per band, `potential` = ubar [T, N, *F].

    `current` [T or 1, N, *F] is what the layer before gave, before any trait. All carry gradients but `spikes`.
    """

    mean: Tensor | None = None
    var: Tensor | None = None
    hinge: Tensor | None = None
    bands: tuple[float, ...] = ()
    potential: Tensor | None = None
    spikes: Tensor | None = None
    current: Tensor | None = None

    def band(self, width: float) -> Tensor:
        """The mean hinge of the band of this half width, a scalar."""
        if self.hinge is None or width not in self.bands:
            raise KeyError(f"band {width} was not watched; watched: {self.bands}")
        return self.hinge[self.bands.index(width)]


def delivered(
    watch: Watch, spikes: Tensor, mean: Tensor, var: Tensor, hinge: Tensor, potential: Tensor
) -> Membrane | None:  # fmt: skip
    """What a kernel made, of which only what was asked for is passed on; None where nothing was."""
    if not watch:
        return None
    return Membrane(
        mean=mean if watch.moments else None,
        var=var if watch.moments else None,
        hinge=hinge if watch.bands else None,
        bands=watch.bands,
        potential=potential if watch.potential else None,
        spikes=spikes.detach() if watch.potential else None,
    )


def channel_moments(ubar: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance per channel of one time step [N, C, *], both [C]."""
    # Two plain passes: several times faster on a CPU than torch.var_mean over these dimensions, and as accurate.
    over = [0, *range(2, ubar.ndim)]
    mean = ubar.mean(over, keepdim=True)
    return mean.flatten(), (ubar - mean).square().mean(over)


def mean_hinge(ubar: Tensor, band: float) -> Tensor:
    """mean(max(0, band - |ubar|)), a scalar."""
    return (band - ubar.abs()).clamp_min(0).mean()
