"""Negative controls: networks that hide or spoil their gradient. Each raises the suspicion that names its fault, and `spike`
(shortened) brings it down to what the same weights withstand with sane gradients."""

import copy

import pytest
import torch
from torch import Tensor, nn

from snnguard.data import Dataset
from snnguard.evaluation import Attacker, evaluate, suite, suites
from snnguard.neurons import MembraneNoise, Triangle, neurons_of
from snnguard.record import Record
from snnguard.threat import Linf

EPS = Linf(eps=0.13)
SHORT = {"steps": 10, "queries": 30}


class Quantised(nn.Module):
    """The image in 64 grey levels, without a gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * 63).round() / 63


class BlindInEval(nn.Module):
    """The same levels, with a straight-through gradient in training mode alone."""

    def forward(self, x: Tensor) -> Tensor:
        levels = (x * 63).round() / 63
        return x + (levels - x).detach() if self.training else levels


class Straight(nn.Module):
    """The same levels, with the gradient passed straight through, always: what the two above should be."""

    def forward(self, x: Tensor) -> Tensor:
        return x + ((x * 63).round() / 63 - x).detach()


class Leaking(nn.Module):
    """A layer that adds to each batch a little of the last one: membranes that nobody reset."""

    def __init__(self) -> None:
        super().__init__()
        self.v: Tensor | float = 0.0

    def forward(self, x: Tensor) -> Tensor:
        carried = self.v if isinstance(self.v, float) or len(self.v) == len(x) else self.v[:1]
        self.v = 0.1 * x.detach()
        return x + carried


def narrow(model: nn.Module) -> nn.Module:
    for neuron in neurons_of(model).values():
        neuron.settings = neuron.settings.model_copy(update={"surrogate": Triangle(gamma=0.01)})
    return model


CONTROLS = {
    "gradient-stops": lambda model: nn.Sequential(Quantised(), model),
    "narrow-window": narrow,
    "blind-in-eval": lambda model: nn.Sequential(BlindInEval(), model),
    "state-leaks": lambda model: nn.Sequential(Leaking(), model),
}


def judged(model: nn.Module, faked: Dataset, name: str) -> Record:
    x, y = faked.test.pixels(torch.arange(40)).double(), faked.test.labels[:40]
    chosen = suites.spike(Attacker(), **SHORT) if name == "spike" else suite(name)
    return evaluate(model, x, y, suite=chosen, threat=EPS, batch_size=40)


@pytest.fixture(scope="module")
def sane(trained: nn.Module, faked: Dataset) -> dict[bool, Record]:
    """The same weights with sane gradients, with and without the grey levels in front of them."""
    plain, levels = copy.deepcopy(trained).double(), nn.Sequential(Straight(), copy.deepcopy(trained).double())
    return {False: judged(plain, faked, "spike"), True: judged(levels, faked, "spike")}


@pytest.mark.parametrize("code", CONTROLS)
def test_a_fault_is_named_and_spike_is_not_fooled(
    code: str, sane: dict[bool, Record], trained: nn.Module, faked: Dataset
) -> None:
    sound = sane[code in ("gradient-stops", "blind-in-eval")]
    record = judged(CONTROLS[code](copy.deepcopy(trained).double()), faked, "spike")
    assert code in {s.code for s in record.suspicions}
    assert code not in {s.code for s in sound.suspicions}
    assert 0 < sound.worst.point < sound.accuracy.point
    assert abs(record.worst.point - sound.worst.point) <= 0.026  # one image of 40


@pytest.mark.parametrize("code", ["gradient-stops", "narrow-window", "blind-in-eval"])
def test_the_same_faults_fool_pgd(code: str, trained: nn.Module, faked: Dataset) -> None:
    record = judged(CONTROLS[code](copy.deepcopy(trained).double()), faked, "quick")
    sound = judged(copy.deepcopy(trained).double(), faked, "quick")
    blind = min(a.accuracy.point for a in record.attacks if a.rule in ("bptt", "own"))
    assert blind > sound.find("pgd-10/bptt").accuracy.point + 0.1


def test_a_random_network_judged_by_one_draw_is_named(trained: nn.Module, faked: Dataset) -> None:
    model = copy.deepcopy(trained)
    for neuron in neurons_of(model).values():
        neuron.settings = neuron.settings.having(MembraneNoise(sigma=0.3, inference=True))
        neuron.mechanisms.append(MembraneNoise(sigma=0.3, inference=True).build(steps=neuron.steps))
    x, y = faked.test.pixels(torch.arange(32)), faked.test.labels[:32]
    one = evaluate(model, x, y, suite=suite("quick"), threat=EPS)
    assert "one-draw" in {s.code for s in one.suspicions}
    many = evaluate(model, x, y, suite=suite("quick", draws=8), threat=EPS)
    assert "one-draw" not in {s.code for s in many.suspicions}
    assert many.worst.point <= one.worst.point
