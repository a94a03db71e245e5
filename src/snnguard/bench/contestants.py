"""The same network in several hands: ours, its floor, the loop of published code, SpikingJelly and snnTorch.

All share one body, weights included; they differ in what stands in place of the neurons and in how time is run.
The neuron is integrate-and-fire, threshold 1, reset to zero, with the triangular surrogate of width 1, in each of them.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from snnguard.layers import Conv2d, Linear
from snnguard.networks import Network, construct
from snnguard.neurons import neurons_of


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One way to run the network: `make` turns ours into it, in another process, to which it has to find its way.

    `backward` says that input gradients are taken by `loss.backward()`, with weight gradients computed on the way, as ART and
    foolbox do. `hosted` are those that run as `snnguard train` and our attacks run a network: freed memory stays with the
    process (`pages`), and the optimiser is ours; the others run as a script of their users does.
    """

    name: str
    make: Callable[[nn.Module, int], nn.Module]
    needs: str | None = None
    channels_last: bool = True
    frozen: bool = True
    backward: bool = False
    hosted: bool = True

    @property
    def installed(self) -> bool:
        """Whether the library that it needs is there."""
        return self.needs is None or find_spec(self.needs) is not None


def ours(network: str, *, steps: int, classes: int = 10) -> nn.Module:
    """The network of this library."""
    mean, std = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
    described = Network.parse({"name": network, "steps": steps})
    return construct(described, classes=classes, image_shape=(3, 32, 32), mean=mean, std=std)


def calibrated(model: nn.Module, images: Tensor) -> nn.Module:
    """The model with the statistics of `images` [N, 3, 32, 32], without which a fresh network is silent in eval mode, and one
    with the statistics of another computes with numbers that are next to zero, which is slow."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0
        model.train()(images)
        for norm in norms:
            norm.momentum = 0.1
    return model


def _swapped(model: nn.Module, make: Callable[[], nn.Module]) -> nn.Module:
    """A copy of `model` with `make()` in place of each neuron, and PyTorch's own convolutions and linear layers."""
    twin = copy.deepcopy(model)
    for module in twin.modules():
        if isinstance(module, Conv2d | Linear):
            module.__class__ = type(module).__base__  # type: ignore[assignment]
    for path in neurons_of(twin):
        parent, _, name = path.rpartition(".")
        setattr(twin.get_submodule(parent), name, make())
    return twin


class _Expand(nn.Module):
    """Another module on a current that is given for all steps."""

    def __init__(self, inner: nn.Module, steps: int) -> None:
        super().__init__()
        self.inner, self.steps = inner, steps

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x.expand(self.steps, *x.shape[1:]) if len(x) == 1 else x)
        return out


class _Rectify(nn.Module):
    """ReLU; what is the same in all steps is computed once and then expanded."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(x)
        return y.expand(self.steps, *y.shape[1:]) if len(y) == 1 else y


def _relu(model: nn.Module, steps: int) -> nn.Module:
    return _swapped(model, lambda: _Rectify(steps))


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        ctx.save_for_backward(u)
        return (u >= 0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        u: Tensor = ctx.saved_tensors[0]
        return grad * (1 - u.abs()).clamp(min=0)


class _LoopOverTime(nn.Module):
    """The neuron as published code writes it: a Python loop over time around an autograd function."""

    def forward(self, x: Tensor) -> Tensor:
        membrane: Tensor | float = 0.0
        spikes = []
        for t in range(len(x)):
            membrane = membrane + x[t]
            spike: Tensor = _Spike.apply(membrane - 1.0)  # type: ignore[no-untyped-call]
            membrane = (1 - spike) * membrane
            spikes.append(spike)
        return torch.stack(spikes)


def _loop(model: nn.Module, steps: int) -> nn.Module:
    return _swapped(model, lambda: _Expand(_LoopOverTime(), steps))


class _Resetting(nn.Module):
    """A network whose neurons keep their membranes: reset after every batch, as its users do. With `repeat` the images,
    instead of the first current, are repeated over time."""

    def __init__(self, model: nn.Module, reset: Callable[[nn.Module], None], *, repeat: bool) -> None:
        super().__init__()
        self.model, self.reset = model, reset
        if repeat:
            self.model.encoder = _Repeated(self.model.encoder)  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        self.reset(self.model)
        return logits


class _Repeated:
    """An encoder whose frames are written out for all steps."""

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder
        self.noisy = False

    def encode(self, images: Tensor, *, steps: int, normalize: nn.Module) -> Tensor:
        frames: Tensor = self.encoder.encode(images, steps=steps, normalize=normalize)
        return frames.repeat(steps, *[1] * (frames.ndim - 1)) if len(frames) == 1 else frames


def _spikingjelly(model: nn.Module, steps: int, *, repeat: bool) -> nn.Module:
    base = "spikingjelly.activation_based"
    neuron, surrogate, functional = (import_module(f"{base}.{name}") for name in ("neuron", "surrogate", "functional"))

    def node() -> nn.Module:
        return neuron.IFNode(step_mode="m", surrogate_function=surrogate.PiecewiseQuadratic(alpha=1.0))  # type: ignore[no-any-return]

    return _Resetting(_swapped(model, lambda: _Expand(node(), steps)), functional.reset_net, repeat=repeat)


class _StepByStep(nn.Module):
    """snnTorch's way: the whole network once per time step, the membranes kept inside."""

    def __init__(self, model: nn.Module, steps: int) -> None:
        super().__init__()
        self.model, self.steps = model, steps

    def forward(self, x: Tensor) -> Tensor:
        for module in self.model.modules():
            if isinstance(module, import_module("snntorch").Leaky):
                module.reset_mem()
        frames = self.model.encoder.encode(x[None], steps=1, normalize=self.model.normalize)  # type: ignore[union-attr, operator]
        return torch.stack([self.model.body(frames).squeeze(0) for _ in range(self.steps)]).mean(0)  # type: ignore[operator]


def _snntorch(model: nn.Module, steps: int) -> nn.Module:
    snntorch = import_module("snntorch")

    def leaky() -> nn.Module:
        return snntorch.Leaky(beta=1.0, spike_grad=_Spike.apply, init_hidden=True, reset_mechanism="zero")  # type: ignore[no-any-return]

    return _StepByStep(_swapped(model, leaky), steps)


def _itself(model: nn.Module, steps: int) -> nn.Module:  # noqa: ARG001
    return model


CONTESTANTS = (
    Contestant(name="floor", make=_relu),
    Contestant(name="snnguard", make=_itself),
    Contestant(name="loop", make=_loop, frozen=False, hosted=False),
    Contestant(
        name="spikingjelly", make=partial(_spikingjelly, repeat=False), needs="spikingjelly", frozen=False
    ),
    Contestant(
        name="spikingjelly as used", make=partial(_spikingjelly, repeat=True), needs="spikingjelly",
        channels_last=False, frozen=False, backward=True, hosted=False,
    ),
    Contestant(
        name="snntorch", make=_snntorch, needs="snntorch", channels_last=False, frozen=False, backward=True, hosted=False
    ),
)  # fmt: skip


def contestants() -> tuple[Contestant, ...]:
    """Those whose libraries are installed."""
    return tuple(contestant for contestant in CONTESTANTS if contestant.installed)


def library_versions() -> dict[str, str]:
    """Versions of the libraries that take part."""
    return {one.needs: metadata.version(one.needs) for one in contestants() if one.needs}
