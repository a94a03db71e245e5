"""How active a network is, how many synaptic operations that takes, and a model of their energy.

An input of 0 or 1 costs an accumulation (AC) for each synapse that it reaches, and only where it is 1. A real-valued input
costs a multiplication with accumulation (MAC) for each synapse: in the layers before the first neuron whatever its value,
behind a neuron, as after an average pooling, where it is not zero. What is the same in all time steps is computed once, as
this library does. The ANN is the same network with rectified units in place of neurons: every synapse once, as a MAC.

0.9 pJ per AC and 4.6 pJ per MAC are those of 32-bit floating point in 45 nm. SOURCE: Horowitz 2014. This is the model of the
field, no measurement: it leaves out memory, which takes most of the energy of real hardware, the update of the membranes, and
biases and normalisation, which are folded into the weights.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from snnguard.findings import Activity, Energy, Operations
from snnguard.neurons import Neuron, Watch

from .watched import batches, look

ACCUMULATION_PJ = 0.9
MULTIPLICATION_PJ = 4.6


def energy(model: nn.Module, x: Tensor, *, seed: int = 0, batch_size: int = 128) -> Energy:
    """Mean numbers per image, over raw images `x` [N, C, H, W]. Of a random network, of one draw per image.

    Convolutions and linear layers are counted; a network with other weighted layers has more operations than these.
    """
    count = _Count()
    for part, drawn in batches(model, x, seed=seed, batch_size=batch_size):
        count.behind_neurons = False
        with _counting(model, count, len(part)):
            look(model, part, watch=Watch(), seed=drawn)
    images = len(x)
    activity = tuple(
        Activity(layer=layer, neurons=n, spikes=spikes / images, rate=spikes / (images * n * steps))
        for layer, (n, steps, spikes) in count.spikes.items()
    )
    operations = tuple(
        Operations(layer=layer, accumulations=ac / images, multiplications=mac / images, dense=dense / images)
        for layer, (ac, mac, dense) in count.operations.items()
    )
    return Energy(
        activity=activity,
        operations=operations,
        accumulation_pj=ACCUMULATION_PJ,
        multiplication_pj=MULTIPLICATION_PJ,
        spiking_pj=sum(ACCUMULATION_PJ * o.accumulations + MULTIPLICATION_PJ * o.multiplications for o in operations),
        ann_pj=MULTIPLICATION_PJ * sum(o.dense for o in operations),
    )


@dataclass
class _Count:
    """Sums over batches; the operations of a layer are accumulations, multiplications and dense ones."""

    behind_neurons: bool = False
    spikes: dict[str, tuple[int, int, float]] = field(default_factory=dict)
    operations: dict[str, tuple[float, float, float]] = field(default_factory=dict)

    def fired(self, layer: str, train: Tensor) -> None:
        self.behind_neurons = True
        steps, images = train.shape[:2]
        _, _, before = self.spikes.get(layer, (0, 0, 0.0))
        self.spikes[layer] = (train.numel() // (steps * images), steps, before + float((train != 0).sum()))

    def weighed(self, layer: str, module: nn.Conv2d | nn.Linear, given: Tensor, images: int) -> None:
        reach = fan_out(module, given[0].shape).to(given.device)
        nonzero = given != 0
        spiking = bool(((given == 0) | (given == 1)).all())
        active = float((nonzero.sum(0) * reach).cpu().double().sum())
        every = float(reach.cpu().double().sum())
        ac = active if spiking else 0.0
        mac = 0.0 if spiking else active if self.behind_neurons else every * len(given)
        before = self.operations.get(layer, (0.0, 0.0, 0.0))
        self.operations[layer] = (before[0] + ac, before[1] + mac, before[2] + every * images)


def fan_out(module: nn.Conv2d | nn.Linear, shape: torch.Size) -> Tensor:
    """How many outputs each value of one input, of this shape, reaches; at the border of an image these are fewer."""
    if isinstance(module, nn.Linear):
        return torch.full(shape, module.out_features)
    with torch.enable_grad():
        ones = torch.ones(1, *shape, requires_grad=True)
        synapses = torch.ones_like(module.weight, device="cpu")
        sums = functional.conv2d(ones, synapses, None, module.stride, module.padding, module.dilation, module.groups)
        (reached,) = torch.autograd.grad(sums.sum(), ones)
    return reached[0].round().long()


@contextmanager
def _counting(model: nn.Module, count: _Count, images: int) -> Iterator[None]:
    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, Neuron):

            def fired(_: nn.Module, given: Any, output: Tensor, name: str = name) -> None:  # noqa: ARG001
                count.fired(name, output)

            hooks.append(module.register_forward_hook(fired))
        elif isinstance(module, nn.Conv2d | nn.Linear):

            def weighed(layer: nn.Module, given: tuple[Tensor, ...], name: str = name) -> None:
                assert isinstance(layer, nn.Conv2d | nn.Linear)
                count.weighed(name, layer, given[0], images)

            hooks.append(module.register_forward_pre_hook(weighed))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
