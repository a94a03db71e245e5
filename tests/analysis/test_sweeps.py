"""Accuracy against radius and steps: by hand where it can be, and monotone where it must be."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from snnguard import rng
from snnguard.analysis import curve, step_sweep
from snnguard.attacks import PGD, Attack, GaussianNoise, fgsm
from snnguard.encoders import Poisson
from snnguard.errors import RequestError
from snnguard.record import Interval
from snnguard.threat import Linf

RADII = (0.3, 0.0, 0.02, 0.1)


def taught(network: Callable[..., nn.Module], images: Callable[[int], Tensor]) -> tuple[nn.Module, Tensor, Tensor]:
    """A network, images, and as their classes what it says of them, but for the last three."""
    model, x = network(), images(32)
    y = model(x).argmax(1)
    y[-3:] = (y[-3:] + 1) % 4
    return model, x, y


@pytest.fixture
def new_attack(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Attack]:
    """`new_attack(name, run)`: an attack with `run(model, x, y)`, registered for the length of a test."""
    monkeypatch.setattr(Attack, "_members", dict(Attack.members()))

    def make(name: str, algorithm: Callable[..., Tensor]) -> Attack:
        class New(Attack, kind=name):
            def run(self, model, x, aim, threat, seed):
                return algorithm(model, x, aim.leave)

        return New()

    return make


def test_a_curve_by_hand(threshold: nn.Module) -> None:
    x = torch.tensor([0.51, 0.56, 0.64, 0.49, 0.40, 0.3]).reshape(6, 1, 1, 1)
    y = torch.tensor([1, 1, 1, 0, 0, 1])  # the last is wrong clean
    found = curve(threshold, x, y, attack=fgsm(), threat=Linf(eps=0.5), radii=(0.15, 0.0, 0.02, 0.08), name="fgsm")
    assert found.name == "fgsm"
    assert found.eps == (0.0, 0.02, 0.08, 0.15)
    assert [round(i.point * 6) for i in found.accuracy] == [5, 3, 2, 0]


def test_a_curve_begins_clean_and_never_rises(network: Callable[..., nn.Module], images: Callable[[int], Tensor]) -> None:
    trained, x, y = taught(network, images)
    found = curve(trained, x, y, attack=PGD(steps=3), threat=Linf(eps=8 / 255), radii=RADII, seed=2)
    points = [interval.point for interval in found.accuracy]
    assert points[0] == float((trained(x).argmax(1) == y).float().mean())
    assert points == sorted(points, reverse=True)
    assert points[-1] < points[0]
    assert curve(trained, x, y, attack=PGD(steps=3), threat=Linf(eps=8 / 255), radii=RADII, seed=2) == found


def test_a_curve_leaves_what_has_fallen_fallen(threshold: nn.Module, new_attack: Callable[..., Attack]) -> None:
    seen: list[int] = []

    def only_small(model: object, x: Tensor, y: Tensor) -> Tensor:
        seen.append(len(x))
        return x - 0.01 if len(seen) == 1 else x

    x = torch.tensor([0.505, 0.7]).reshape(2, 1, 1, 1)
    attack = new_attack("only-small", only_small)
    found = curve(threshold, x, torch.tensor([1, 1]), attack=attack, threat=Linf(eps=1), radii=(0.01, 0.1, 0.2))
    assert [i.point for i in found.accuracy] == [0.5, 0.5, 0.5]
    assert seen == [2, 1, 1]


def test_steps_begin_clean_and_never_rise(network: Callable[..., nn.Module], images: Callable[[int], Tensor]) -> None:
    model, x, y = taught(network, images)
    threat = Linf(eps=0.1)
    found = step_sweep(model, x, y, attack=PGD(), threat=threat, steps=(5, 0, 1, 10), seed=3, name="PGD")
    assert (found.name, found.steps) == ("PGD", (0, 1, 5, 10))
    points = [interval.point for interval in found.accuracy]
    assert points[0] == 29 / 32
    assert points == sorted(points, reverse=True)
    assert found.accuracy[0] == Interval.of(29, 32)
    right = model(x).argmax(1) == y
    x_adv = PGD(steps=1)(model, x[right], y[right], threat=threat, seed=rng.derive(3, "curve"))
    assert points[1] == int((model(x_adv).argmax(1) == y[right]).sum()) / 32
    assert points[3] < points[0]
    again = step_sweep(model, x, y, attack=PGD(), threat=threat, steps=(0, 1, 5, 10), seed=3, name="PGD", batch_size=5)
    assert again == found  # a network that is not random does not know the batches


def test_a_random_network_repeats(network: Callable[..., nn.Module], images: Callable[[int], Tensor]) -> None:
    model = network(encoder=Poisson())
    y, state = model(images(8)).argmax(1), torch.get_rng_state()
    found = [step_sweep(model, images(8), y, attack=PGD(), threat=Linf(eps=0.1), steps=(0, 2), draws=2) for _ in range(2)]
    assert found[0] == found[1]
    assert torch.equal(state, torch.get_rng_state())


def test_an_attack_without_steps_is_refused(threshold: nn.Module) -> None:
    with pytest.raises(RequestError, match="takes no steps"):
        step_sweep(
            threshold, torch.rand(2, 1), torch.tensor([0, 1]), attack=GaussianNoise(), threat=Linf(eps=0.1), steps=(1, 2)
        )
