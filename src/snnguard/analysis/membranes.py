"""Where the membrane potentials of a trained network lie: numbers for logs and records, not pictures."""

from bisect import bisect_right
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from snnguard.attacks import frozen
from snnguard.layers import watching
from snnguard.neurons import Membrane as Seen
from snnguard.neurons import Watch, neurons_of
from snnguard.record import LOGGED_EDGES, Membrane

PROXIMAL_BAND = 0.5
"""Half width, in units of the potential, of what counts as close to the threshold (TGO's delta)."""


def membranes(
    model: nn.Module,
    x: Tensor,
    *,
    band: float = PROXIMAL_BAND,
    bins: int = 80,
    reach: float = 4.0,
    batch_size: int = 128,
) -> list[Membrane]:
    """One record per layer, over raw images `x` [N, C, H, W], in eval mode, without gradients.

    The histogram covers [-reach, reach] around the threshold in `bins` bins; the outer ones take what lies beyond.
    """
    tallies: dict[str, _Tally] = {}
    for part in x.split(batch_size):
        with torch.no_grad(), frozen(model), watching(model, Watch(potential=True)) as seen:
            model(part)
        for name, passes in seen.items():
            for membrane in passes:
                tallies.setdefault(name, _Tally(bins, reach)).add(membrane, band, _window(model, name))
    return [tally.record(name, band, _window(model, name)) for name, tally in tallies.items()]


def histogram(layer: Membrane) -> list[int]:
    """The potentials of a layer in per mille over the bins of `LOGGED_EDGES`: short enough to log after every epoch.

    Each bin of the layer goes where its centre lies, so they should be as fine as those or finer.
    """
    counts = [0] * (len(LOGGED_EDGES) - 1)
    for count, low, high in zip(layer.counts, layer.edges, layer.edges[1:], strict=False):
        place = bisect_right(LOGGED_EDGES, (low + high) / 2) - 1
        counts[min(max(place, 0), len(counts) - 1)] += count
    total = max(1, sum(counts))
    return [round(1000 * count / total) for count in counts]


def _window(model: nn.Module, name: str) -> float:
    return neurons_of(model)[name].window


class _Tally:
    """Sums over batches of one layer."""

    def __init__(self, bins: int, reach: float) -> None:
        self.bins, self.reach = bins, reach
        self.counts = torch.zeros(bins, dtype=torch.float64)
        self.n = self.total = self.squares = self.inside = self.near = self.spikes = 0.0
        self.fired: Tensor | None = None

    def add(self, membrane: Seen, band: float, window: float) -> None:
        ubar, spikes = membrane.potential, membrane.spikes
        assert ubar is not None
        assert spikes is not None
        ubar, spikes = ubar.float().cpu(), spikes.cpu()  # not every accelerator has float64
        edge = self.reach * (1 - 1e-6)
        self.counts += torch.histc(ubar.float().clamp(-edge, edge), self.bins, -self.reach, self.reach).double().cpu()
        self.n += ubar.numel()
        self.total += float(ubar.double().sum())
        self.squares += float(ubar.double().square().sum())
        size = ubar.abs()
        self.inside += float((size < window).sum())
        self.near += float((size < band).sum())
        self.spikes += float(spikes.sum())
        fired = spikes.transpose(0, 2).flatten(1).amax(1) > 0
        self.fired = fired if self.fired is None else self.fired | fired

    def record(self, layer: str, band: float, window: float) -> Membrane:
        assert self.fired is not None
        mean = self.total / self.n
        width = 2 * self.reach / self.bins
        return Membrane(
            layer=layer,
            edges=tuple(round(-self.reach + i * width, 9) for i in range(self.bins + 1)),
            counts=tuple(int(c) for c in self.counts),
            mean=mean,
            std=max(0.0, self.squares / self.n - mean * mean) ** 0.5,
            window=window,
            overlap=self.inside / self.n,
            proximal=self.near / self.n,
            proximal_band=band,
            rate=self.spikes / self.n,
            dead=float((~self.fired).double().mean()),
        )


def summary(layers: Sequence[Membrane]) -> dict[str, float]:
    """Means over the layers of mean, std, overlap, threshold-proximal share, firing rate and dead channels."""
    names = ("mean", "std", "overlap", "proximal", "rate", "dead")
    return {name: sum(getattr(layer, name) for layer in layers) / max(1, len(layers)) for name in names}
