"""Networks whose spikes can be counted by hand, and one that fires everywhere."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnguard.networks import SpikingClassifier, build
from snnguard.neurons import LIF, Neuron


class Driven(nn.Module):
    """Neurons driven by what comes in, [N, T, *F], or [N, 1, *F] for the same in all `steps`; logits are their rates, [N, F].

    `before` stands between the input and the neurons.
    """

    def __init__(self, neuron: LIF, steps: int, before: nn.Module | None = None) -> None:
        super().__init__()
        self.before = before or nn.Identity()
        self.neuron: Neuron = neuron.build(steps=steps)

    def forward(self, x: Tensor) -> Tensor:
        return self.neuron(self.before(x.transpose(0, 1))).mean(0).flatten(1)


class Threshold(nn.Module):
    """Class 1 where the first pixel is above 0.5: everything about it can be counted."""

    def forward(self, x: Tensor) -> Tensor:
        score = x.flatten(1)[:, 0] - 0.5
        return torch.stack([-score, score], 1)


@pytest.fixture
def driven() -> type[Driven]:
    return Driven


@pytest.fixture
def threshold() -> nn.Module:
    return Threshold()


@pytest.fixture
def linear() -> Callable[[Tensor], nn.Module]:
    """`linear(weight)`: logits of flattened images, without a bias."""

    def make(weight: Tensor) -> nn.Module:
        model = nn.Sequential(nn.Flatten(), nn.Linear(weight.shape[1], len(weight), bias=False)).to(weight.dtype)
        model[1].weight.data.copy_(weight)
        return model

    return make


@pytest.fixture
def images() -> Callable[[int], Tensor]:
    return lambda n: torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network() -> Callable[..., SpikingClassifier]:
    """`network(**settings)`: a small one with random statistics, in eval mode, that fires in every layer."""

    def make(name: str = "vgg4-tiny", **settings: Any) -> SpikingClassifier:
        model = build(name, **{"classes": 4, "image_shape": (1, 8, 8), "steps": 3, "seed": 1, **settings})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.weight.data.uniform_(0.5, 3)
                    module.bias.data.normal_(-0.5, 1)
                if isinstance(module, nn.Linear):
                    module.weight.data.mul_(3)
        return model.eval()

    return make
