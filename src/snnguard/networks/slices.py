"""Input gradients of rules without time, through one time slice.

Under a `SlopeRule` every neuron is a factor that is the same in all steps, and all else is affine in eval mode, so the gradient
is the same in all steps as well. It is enough to run all steps forward without a graph, and then one slice with one, in which
each neuron is its factor: T + 1 slices forward and 1 back, instead of T and T.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from snnguard.layers import Body, ConvexCombination, OverTime, Sum
from snnguard.neurons import Mechanism, MembraneNoise, Neuron, SlopeRule, neurons_of, straight_through

AFFINE = (
    nn.Conv2d,
    nn.Linear,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.Flatten,
    nn.Identity,
    nn.BatchNorm2d,
    Sum,
    ConvexCombination,
)
"""Layers that are affine in eval mode, one time step like another."""


def has_one_slice(body: nn.Module) -> bool:
    """Whether gradients are wanted of a body in eval mode whose neurons all follow a rule without time.

    Neurons with traits that act step by step, other than noise, which no gradient sees, do not qualify; neither do parameters
    that ask for a gradient, nor a body with layers that are not known to be affine. An architecture's own modules say so of
    themselves by `affine_between_neurons`.
    """
    if body.training or not torch.is_grad_enabled():
        return False  # at once: every forward pass asks
    neurons = neurons_of(body).values()
    return (
        bool(neurons)
        and not any(module.training for module in body.modules())
        and all(_affine(module) for module in body.modules())
        and all(isinstance(neuron.rule, SlopeRule) and not neuron.watch for neuron in neurons)
        and all(isinstance(trait, MembraneNoise) for neuron in neurons for trait in neuron.settings.traits)
        and not any(parameter.requires_grad for parameter in body.parameters())
    )


def _affine(module: nn.Module) -> bool:
    if isinstance(module, nn.BatchNorm2d) and module.running_mean is None:
        return False
    known = type(module) in (nn.Sequential, nn.ModuleList, Body, OverTime, Neuron) or isinstance(module, (*AFFINE, Mechanism))
    return known or getattr(module, "affine_between_neurons", False)


def through_one_slice(body: nn.Module, frames: Tensor) -> Tensor:
    """The mean over time of `body(frames)`, frames [T or 1, N, C, H, W], differentiated through one slice."""
    neurons = list(neurons_of(body).values())
    with torch.no_grad(), _keeping_slopes(neurons):
        value = body(frames).mean(0)
        slopes = [list(neuron.slopes or ()) for neuron in neurons]
    with _replaying(neurons, slopes):
        smooth = body(frames.mean(0, keepdim=True)).mean(0)
    return straight_through(value, smooth)


@contextmanager
def _keeping_slopes(neurons: list[Neuron]) -> Iterator[None]:
    try:
        for neuron in neurons:
            neuron.slopes = []
        yield
    finally:
        for neuron in neurons:
            neuron.slopes = None


@contextmanager
def _replaying(neurons: list[Neuron], slopes: list[list[Tensor]]) -> Iterator[None]:
    """Within the block a neuron multiplies by what it kept: a list, as a network may use a neuron more than once."""
    try:
        for neuron, kept in zip(neurons, slopes, strict=True):
            neuron.factors = iter(kept)
        yield
    finally:
        for neuron in neurons:
            neuron.factors = None
