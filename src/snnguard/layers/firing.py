"""A normalisation and the neuron behind it in one pass over memory, where the neuron's kernel can do both."""

from itertools import pairwise

from torch import Tensor, nn

from snnguard.neurons import Neuron, may_normalise

from .tdbn import TDBN
from .time import OverTime, fold, over_time, unfold


def fire(currents: nn.Module, neuron: nn.Module, x: Tensor) -> Tensor:
    """`neuron(currents(x))`, where the last layer of `currents` may be done by the neuron's kernel.

    In eval mode the bits are the same either way, so that the spikes do not depend on the gradient rule. Where a hook
    wants to see a layer it is PyTorch's normalisation, whose last digits differ.
    """
    if not may_join(currents, neuron) or _hooked(currents) or _hooked(neuron):
        spikes: Tensor = neuron(currents(x))
        return spikes
    assert isinstance(currents, OverTime)
    assert isinstance(neuron, Neuron)
    *before, norm = currents
    assert isinstance(norm, TDBN)
    x = over_time(before, x)
    joins = neuron.normalises(x)
    affine = norm.on_the_way(x) if joins or (not norm.training and may_normalise(x)) else None
    if affine is None:
        spikes = neuron(over_time([norm], x))
    elif joins:
        spikes = neuron(x, norm=affine)
    else:
        spikes = neuron(unfold(affine.over(fold(x)), len(x)))
    return spikes


def may_join(currents: nn.Module, neuron: nn.Module) -> bool:
    """Whether these are a normalisation, with or without layers before it, and a spiking neuron. No subclass of them: it may
    do something else."""
    return type(neuron) is Neuron and type(currents) is OverTime and len(currents) > 0 and type(currents[-1]) is TDBN


def _hooked(module: nn.Module) -> bool:
    """Whether somebody wants to see what goes in or out."""
    return any(
        part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks
        for part in module.modules()
    )


class Body(nn.Sequential):
    """Layers one after another; a neuron behind a normalisation goes with it."""

    def forward(self, x: Tensor) -> Tensor:
        for part in parts(self):
            x = part[0](x) if len(part) == 1 else fire(part[0], part[1], x)
        return x


def parts(layers: nn.Sequential) -> list[tuple[nn.Module, ...]]:
    """The layers, of a `Body` in pairs where two go together."""
    found: list[tuple[nn.Module, ...]] = []
    every = list(layers)
    for layer, after in pairwise([*every, nn.Identity()]):
        if found and found[-1][-1] is layer:
            continue
        found.append((layer, after) if isinstance(layers, Body) and may_join(layer, after) else (layer,))
    return found
