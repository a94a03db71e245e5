"""Toy models and toy attacks whose verdicts can be counted by hand."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from snnguard.attacks import Attack
from snnguard.data import Dataset, fake
from snnguard.defenses import Stack
from snnguard.networks import construct
from snnguard.networks.network import Network
from snnguard.training import SGD, Training, fit


@pytest.fixture(scope="session")
def faked() -> Dataset:
    return fake(classes=4, image_shape=(1, 8, 8), train=256, validation=32, test=64)


@pytest.fixture(scope="session")
def trained(faked: Dataset) -> nn.Module:
    """A small spiking network that has learnt the made-up images; do not change it."""
    network = Network(name="vgg4-tiny", steps=2)
    model = construct(network, classes=4, image_shape=faked.image_shape, mean=faked.mean, std=faked.std, seed=0)
    training = Training(epochs=4, batch_size=32, optimiser=SGD(learning_rate=0.1), device="cpu", probe_size=8)
    fit(model, faked.train, faked.validation, defense=Stack(), training=training, seed=0)
    return model.eval()


@pytest.fixture
def new_attack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Attack]]:
    """`new_attack(name, run)`: an attack with `run(model, x, y)`, registered for the length of a test."""
    monkeypatch.setattr(Attack, "_members", dict(Attack.members()))

    def make(name: str, algorithm: Callable[..., Tensor], *, bounded: bool = True) -> Attack:
        keeps = bounded

        class New(Attack, kind=name):
            @property
            def bounded(self) -> bool:
                return keeps

            def run(self, model, x, aim, threat, seed):
                return algorithm(model, x, aim.leave)

        return New()

    return make


class Threshold(nn.Module):
    """Class 1 where the first pixel is above 0.5: everything about it can be counted."""

    def forward(self, x: Tensor) -> Tensor:
        score = x.flatten(1)[:, 0] - 0.5
        return torch.stack([-score, score], 1)


@pytest.fixture
def threshold() -> nn.Module:
    return Threshold()
