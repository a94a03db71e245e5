"""How often noise in the membrane turns a spike over, by the distance to the threshold: Theorem 1 of TGO, measured.

Noise N(0, sigma^2) on a membrane at the distance d from its threshold turns its spike over with probability Phi(-d / sigma).
That is exact for the noise of one step. Here the noise is fresh in each step and stays in the membrane, as in TGO's noisy
neuron, so in the first step the frequency is that probability, and later ones show what is carried along.
SOURCE: TGO (ICLR 2026, arXiv 2602.20548), Theorem 1.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from snnguard import rng
from snnguard.errors import RequestError
from snnguard.findings import Flips
from snnguard.neurons import Membrane, Neuron, Watch, neurons_of

from .watched import batches, look

SPIKES = Watch(potential=True)

SIGMA = 0.2
"""The standard deviation of the noise, that of the noisy neuron, in units of the potential."""

REACH = 4.0
"""The largest distance with a bin of its own, in units of sigma."""


def flips(
    model: nn.Module, x: Tensor, *, sigma: float = SIGMA, bins: int = 20, seed: int = 0, batch_size: int = 128
) -> list[Flips]:  # fmt: skip
    """One entry per layer and time step, over raw images `x` [N, C, H, W], with noise in one layer at a time.

    So the layers before are those of the network without noise. A random network draws the same with and without it. The
    noise is added to the current, and a trait that scales the current scales it too. Raises `RequestError` unless `sigma` is
    positive.
    """
    if not sigma > 0:
        raise RequestError(f"the noise needs a standard deviation above 0, found sigma={sigma}")
    tallies: dict[str, Tensor] = {}
    for part, drawn in batches(model, x, seed=seed, batch_size=batch_size):
        _, quiet = look(model, part, watch=SPIKES, seed=drawn)
        for layer, neuron in neurons_of(model).items():
            with _noise(neuron, sigma, seed=rng.derive(drawn, layer)):
                _, noisy = look(model, part, watch=SPIKES, seed=drawn)
            for before, after in zip(quiet[layer], noisy[layer], strict=True):
                tallies[layer] = tallies.get(layer, torch.zeros(())) + _tally(before, after, sigma, bins)
    return [
        Flips(
            layer=layer, step=step, sigma=sigma, edges=tuple(REACH * i / bins for i in range(bins + 1)),
            counts=tuple(map(int, counts)), flipped=tuple(map(int, flipped)), expected=tuple(expected),
        )
        for layer, tally in tallies.items()
        for step, (counts, flipped, expected) in enumerate(tally.tolist(), 1)
    ]  # fmt: skip


@contextmanager
def _noise(neuron: Neuron, sigma: float, *, seed: int) -> Iterator[None]:
    """Within the block the neuron's current has fresh noise in each step."""

    def add(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor]:
        current = given[0].expand(neuron.steps, *given[0].shape[1:])
        generator = torch.Generator(current.device).manual_seed(seed)
        return (current + sigma * torch.randn(current.shape, generator=generator, device=current.device, dtype=current.dtype),)

    hook = neuron.register_forward_pre_hook(add)
    try:
        yield
    finally:
        hook.remove()


def _tally(before: Membrane, after: Membrane, sigma: float, bins: int) -> Tensor:
    """[T, 3, bins]: how many there are in each bin, how many of them turned over, how many should have."""
    assert before.potential is not None
    assert before.spikes is not None
    assert after.spikes is not None
    distance = (before.potential.abs().float().cpu() / sigma).flatten(1)
    turned = (before.spikes != after.spikes).flatten(1).cpu().double()
    expected = torch.special.ndtr(-distance.double())
    place = (distance * (bins / REACH)).long().clamp(max=bins - 1)
    rows = torch.stack([torch.ones_like(turned), turned, expected], 1)
    return torch.zeros(len(rows), 3, bins).double().scatter_add(2, place[:, None].expand(-1, 3, -1), rows)
