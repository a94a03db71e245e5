"""Which firing patterns lie within reach: the spikes of all neurons at random points of the ball around each image.

MPD-SGR (supplement, Theorem 2) and TGO (Theorem 2) speak of K, the number of patterns in the ball. It cannot be counted; what
random points meet is a lower bound, and for all but tiny balls every point has a pattern of its own. So the share of spikes
that change says more.
"""

import hashlib

import numpy as np
import torch
from torch import Tensor, nn

from snnguard import rng
from snnguard.findings import Patterns
from snnguard.neurons import Watch
from snnguard.threat import Threat

from .watched import Seen, batches, look

SPIKES = Watch(potential=True)


def patterns(
    model: nn.Module, x: Tensor, *, threat: Threat, samples: int = 16, seed: int = 0, batch_size: int = 128
) -> Patterns:  # fmt: skip
    """Over raw images `x` [N, C, H, W]. A random network draws the same at every point."""
    distinct: list[int] = []
    moved: list[float] = []
    changed: dict[str, float] = {}
    for part, drawn in batches(model, x, seed=seed, batch_size=batch_size):
        logits, seen = look(model, part, watch=SPIKES, seed=drawn)
        met = [{digest} for digest in _digests(seen)]
        length = torch.zeros(len(part))
        for sample in range(samples):
            point = threat.sample(part, rng.derive(seed, "point", sample))
            there, other = look(model, point, watch=SPIKES, seed=drawn)
            for known, digest in zip(met, _digests(other), strict=True):
                known.add(digest)
            length = torch.maximum(length, torch.linalg.vector_norm((there - logits).float().cpu(), dim=1))
            for layer in seen:
                share = _different(seen, other, layer) * len(part) / (len(x) * samples)
                changed[layer] = changed.get(layer, 0.0) + share
        distinct += [len(known) for known in met]
        moved += length.tolist()
    return Patterns(eps=threat.eps, samples=samples, distinct=tuple(distinct), moved=tuple(moved), changed=changed)


def _spikes(seen: Seen, layer: str) -> Tensor:
    """[N, ...], of all steps and of all times that the neurons were called."""
    trains = [membrane.spikes.transpose(0, 1).flatten(1) for membrane in seen[layer] if membrane.spikes is not None]
    return torch.cat(trains, 1)


def _different(one: Seen, other: Seen, layer: str) -> float:
    return float((_spikes(one, layer) != _spikes(other, layer)).float().mean())


def _digests(seen: Seen) -> list[bytes]:
    """One per image, of the spikes of all layers."""
    whole = torch.cat([_spikes(seen, layer) > 0 for layer in seen], 1).cpu().numpy()
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in np.packbits(whole, axis=1)]
