"""Forward passes with an eye on the neurons; they leave no trace."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from snnguard import rng
from snnguard.attacks import frozen
from snnguard.errors import RequestError
from snnguard.layers import watching
from snnguard.neurons import Membrane, Watch, neurons_of

Seen = dict[str, list[Membrane]]
"""What was seen in each layer, one entry for each time that its neurons were called."""


def look(model: nn.Module, x: Tensor, *, watch: Watch, seed: int) -> tuple[Tensor, Seen]:
    """Logits [N, K] and what was seen, in eval mode, without gradients; a random network draws the same for the same `seed`."""
    with torch.no_grad(), frozen(model), rng.scope(seed), watching(model, watch) as seen:
        return model(x), seen


def batches(model: nn.Module, x: Tensor, *, seed: int, batch_size: int) -> Iterator[tuple[Tensor, int]]:
    """Batches of images, each with its own seed. Raises `RequestError` if there are no images, or no neuron to look at."""
    if not neurons_of(model):
        raise RequestError(f"there are no membranes to look at: {type(model).__name__} contains no SNNGuard neuron")
    if len(x) == 0:
        raise RequestError("there is nothing to look at: an analysis needs at least one image")
    for index, part in enumerate(x.split(batch_size)):
        yield part, rng.derive(seed, "batch", index)
