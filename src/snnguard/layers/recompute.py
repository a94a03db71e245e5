"""Less memory for more time: a block's inner activations are forgotten and made again in the backward pass.

The numbers do not change: random draws repeat, running statistics are updated once, what is watched is delivered once.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import chain

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from snnguard.neurons import GradientRule, Neuron, Watch, neurons_of

from .firing import Body, parts
from .statistics import untracked


def recomputed(body: nn.Module, x: Tensor) -> Tensor:
    """`body(x)`; of a sequence of n layers about sqrt(n) inputs are kept (Chen 2016), of any other body only its own.

    Hooks that are there in the forward pass have to stay until the backward pass is over.
    """
    # A subclass may do something else with its layers, and a hook wants to see all of it.
    if type(body) not in (nn.Sequential, Body) or body._forward_hooks or body._forward_pre_hooks:
        return _forgetting(body, x)
    assert isinstance(body, nn.Sequential)
    together = parts(body)
    size = max(1, round(math.sqrt(len(together))))
    for first in range(0, len(together), size):
        x = _forgetting(type(body)(*chain.from_iterable(together[first : first + size])), x)
    return x


def _forgetting(block: nn.Module, x: Tensor) -> Tensor:
    neurons = neurons_of(block).values()
    # By the backward pass nobody may be watching any more, and another rule may be in place.
    watched = [(neuron, neuron.watch, neuron.rule) for neuron in neurons]
    out: Tensor = checkpoint(
        block, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _again(block, watched))
    )  # fmt: skip
    return out


@contextmanager
def _again(block: nn.Module, watched: list[tuple[Neuron, Watch | None, GradientRule | None]]) -> Iterator[None]:
    """The second pass: as the first, but nothing is recorded."""
    now = [(neuron.watch, neuron.rule, neuron.seen) for neuron, _, _ in watched]
    with untracked(block):
        try:
            for neuron, watch, rule in watched:
                neuron.watch, neuron.rule, neuron.seen = watch, rule, []
            yield
        finally:
            for (neuron, _, _), (watch, rule, seen) in zip(watched, now, strict=True):
                neuron.watch, neuron.rule, neuron.seen = watch, rule, seen
