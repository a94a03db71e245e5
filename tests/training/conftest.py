"""A training that takes a second and uses every source of randomness: augmentation, an attack with a random start, noise."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from snnguard.attacks import PGD
from snnguard.data import Augmentation, Dataset, fake
from snnguard.defenses import MPDSGR, TGO, AdversarialTraining, Defense, Stack
from snnguard.networks import Network, SpikingClassifier, construct
from snnguard.threat import Linf
from snnguard.training import SGD, AdamW, Outcome, Training, fit

Weights = dict[str, Tensor]


@pytest.fixture(scope="session")
def unlisted() -> Callable[[type[Defense]], type[Defense]]:
    """Decorates a defense made for one test: takes it out of the registry again."""

    def forget(made: type[Defense]) -> type[Defense]:
        del Defense.family()._members[made.kind]
        return made

    return forget


class Trained(NamedTuple):
    weights: Weights
    outcome: Outcome
    model: SpikingClassifier


@pytest.fixture(scope="session")
def data() -> Dataset:
    return fake(classes=4, image_shape=(1, 8, 8), train=38, validation=12, test=4)


@pytest.fixture
def noisy_stack() -> Stack:
    attack = AdversarialTraining(attack=PGD(steps=1, step_fraction=0.5), threat=Linf(eps=0.05))
    return Stack((attack, MPDSGR(eta=0.1), TGO(lambda_max=0.2)))


@pytest.fixture
def network(data: Dataset) -> Callable[..., SpikingClassifier]:
    """network(defense) -> the same untrained weights each time."""

    def make(defense: Defense | None = None, name: str = "vgg4-tiny") -> SpikingClassifier:
        design = (defense or Stack()).design(Network(name=name, steps=2))
        return construct(design, classes=data.classes, image_shape=data.image_shape, mean=data.mean, std=data.std, seed=3)

    return make


@pytest.fixture
def settings() -> Callable[..., Training]:
    """settings(epochs=3, ...) -> 4 steps per epoch: 38 images in batches of 8, the last 6 dropped."""

    def make(**changes: Any) -> Training:
        given: dict[str, Any] = {"epochs": 3, "batch_size": 8, "optimiser": AdamW(learning_rate=5e-3), "device": "cpu"}
        return Training(**(given | changes))

    return make


@pytest.fixture
def trained(
    data: Dataset, noisy_stack: Stack, network: Callable[..., SpikingClassifier], settings: Callable[..., Training]
) -> Callable[..., Trained]:
    """trained(out=..., report=..., **changes of Training) -> weights, outcome, model."""

    def run(
        out: Path | None = None, *, report: Any = None, defense: Defense | None = None, seed: int = 0, **changes: Any
    ) -> Trained:
        chosen = noisy_stack if defense is None else defense
        model = network(chosen)
        outcome = fit(
            model, data.train, data.validation, defense=chosen, training=settings(**changes),
            augmentation=Augmentation(crop=1, flip=True, cutout=2), seed=seed, out=out, report=report,
        )  # fmt: skip
        return Trained({k: v.clone().contiguous() for k, v in model.state_dict().items()}, outcome, model)

    return run


@pytest.fixture
def same() -> Callable[[Weights, Weights], bool]:
    """same(a, b): equal names and bit-identical tensors."""

    def compare(one: Weights, other: Weights) -> bool:
        return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)

    return compare


@pytest.fixture
def lines() -> Callable[[Any], list[dict[str, Any]]]:
    """lines(path or list): metrics without what the clock says."""

    def read(source: Any) -> list[dict[str, Any]]:
        found = [json.loads(t) for t in source.read_text().splitlines()] if isinstance(source, Path) else source
        return [{k: v for k, v in line.items() if k != "seconds"} for line in found]

    return read


@pytest.fixture(params=["adamw", "sgd"])
def optimiser(request: pytest.FixtureRequest) -> Any:
    return AdamW(learning_rate=5e-3) if request.param == "adamw" else SGD(learning_rate=0.05)
