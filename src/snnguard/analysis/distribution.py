"""How the membrane potentials of each layer are distributed at each time step, and how far from normal that is."""

import numpy as np
import torch
from scipy.special import ndtr
from torch import Tensor, nn

from snnguard.findings import StepMembrane
from snnguard.neurons import Watch, neurons_of

from .membranes import PROXIMAL_BAND
from .watched import batches, look

FINENESS = 64
"""Bins within a bin of the histogram, for the Kolmogorov-Smirnov distance."""


def membranes_over_time(
    model: nn.Module, x: Tensor, *, band: float = PROXIMAL_BAND, bins: int = 80, reach: float = 4.0, seed: int = 0,
    batch_size: int = 128,
) -> list[StepMembrane]:  # fmt: skip
    """One entry per layer and time step, over raw images `x` [N, C, H, W].

    The histogram covers [-reach, reach] around the threshold, in units of the potential, in `bins` bins. The
    Kolmogorov-Smirnov distance is taken at `FINENESS` edges for each of them; everything else is exact.
    """
    tallies: dict[tuple[str, int], _Tally] = {}
    for part, drawn in batches(model, x, seed=seed, batch_size=batch_size):
        _, seen = look(model, part, watch=Watch(potential=True), seed=drawn)
        for layer, passes in seen.items():
            window = neurons_of(model)[layer].window
            for membrane in passes:
                assert membrane.potential is not None
                assert membrane.spikes is not None
                for step, (ubar, spikes) in enumerate(zip(membrane.potential, membrane.spikes, strict=True), 1):
                    tally = tallies.setdefault((layer, step), _Tally(bins, reach, window, band))
                    tally.add(ubar.float().cpu(), spikes)
    return [tally.result(layer, step) for (layer, step), tally in tallies.items()]


class _Tally:
    """Sums over batches of one layer and step."""

    def __init__(self, bins: int, reach: float, window: float, band: float) -> None:
        self.bins, self.reach, self.window, self.band = bins, reach, window, band
        self.counts = np.zeros(bins * FINENESS, dtype=np.int64)
        self.powers = np.zeros(5)
        self.inside = self.near = self.spikes = 0.0

    def add(self, ubar: Tensor, spikes: Tensor) -> None:
        values = ubar.double().flatten()
        edge = self.reach * (1 - 1e-9)
        self.counts += torch.histc(values.clamp(-edge, edge), len(self.counts), -self.reach, self.reach).long().numpy()
        self.powers += [float((values**power).sum()) for power in range(5)]
        self.inside += float((values.abs() < self.window).sum())
        self.near += float((values.abs() < self.band).sum())
        self.spikes += float(spikes.sum())

    def result(self, layer: str, step: int) -> StepMembrane:
        total = self.powers[0]
        mean, second, third, fourth = self.powers[1:] / total
        variance = second - mean**2
        std = variance**0.5 if variance > 1e-12 * second else 0.0  # below that it is rounding
        skewness = kurtosis = distance = None
        if std:
            skewness = float((third - 3 * mean * second + 2 * mean**3) / std**3)
            kurtosis = float((fourth - 4 * mean * third + 6 * mean**2 * second - 3 * mean**4) / std**4 - 3)
            distance = self._distance(mean, std)
            normal = float(ndtr((self.window - mean) / std) - ndtr((-self.window - mean) / std))
        else:
            normal = float(abs(mean) < self.window)
        return StepMembrane(
            layer=layer,
            step=step,
            edges=tuple(round(-self.reach + i * 2 * self.reach / self.bins, 9) for i in range(self.bins + 1)),
            counts=tuple(map(int, self.counts.reshape(self.bins, FINENESS).sum(1))),
            mean=float(mean),
            std=float(std),
            skewness=skewness,
            excess_kurtosis=kurtosis,
            ks_distance=distance,
            window=self.window,
            overlap=self.inside / total,
            gaussian_overlap=normal,
            proximal=self.near / total,
            proximal_band=self.band,
            rate=self.spikes / total,
        )

    def _distance(self, mean: float, std: float) -> float:
        """sup |F - Phi| over the inner edges; what lies beyond the reach counts below the first or above the last."""
        edges = np.linspace(-self.reach, self.reach, len(self.counts) + 1)[1:-1]
        share = self.counts.cumsum()[:-1] / self.powers[0]
        return float(np.abs(share - ndtr((edges - mean) / std)).max())
