"""A model that keeps its membranes between calls, in a dictionary and one per image, as SpikingJelly's neurons do."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnguard.data import Dataset
from snnguard.evaluation import Attacker, evaluate, suites
from snnguard.evaluation.probes import measure
from snnguard.neurons import RateGradient
from snnguard.record import Record
from snnguard.threat import Linf

EPS = Linf(eps=0.2)


class Membranes(nn.Module):
    """x + half of what is kept; a batch of another size does not fit what was kept of the last one."""

    def __init__(self, *, resets: bool) -> None:
        super().__init__()
        self.resets = resets
        self._memories: dict[str, Any] = {"v": 0.0}

    def forward(self, x: Tensor) -> Tensor:
        self._memories["v"] = 0.0 if self.resets else self._memories["v"]
        out = x + 0.5 * self._memories["v"]
        self._memories["v"] = out.detach()
        return out


class Levels(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x * 63).round() / 63


def judged(model: nn.Module, faked: Dataset) -> Record:
    x, y = faked.test.pixels(torch.arange(10)).double(), faked.test.labels[:10]
    chosen = suites.spike(Attacker(), steps=2, queries=3)
    kept = tuple(e for e in chosen.entries if e.name in ("sa-pgd/bptt", "sa-pgd/rate", "square"))
    return evaluate(model, x, y, suite=chosen.model_copy(update={"entries": kept}), threat=EPS, batch_size=4)


@pytest.fixture
def made(trained: nn.Module) -> Callable[..., nn.Sequential]:
    return lambda **settings: nn.Sequential(Membranes(**settings), Levels(), copy.deepcopy(trained).double()).eval()


def test_it_is_judged_as_if_it_were_reset_before_every_call(made: Callable[..., nn.Sequential], faked: Dataset) -> None:
    model = made(resets=False)
    leaking, clean = judged(model, faked), judged(made(resets=True), faked)
    assert {s.code for s in leaking.suspicions} - {s.code for s in clean.suspicions} == {"state-leaks"}
    assert leaking.clean == clean.clean
    assert [a.correct for a in leaking.attacks] == [a.correct for a in clean.attacks]
    assert 0 < leaking.worst.point < leaking.accuracy.point
    assert not leaking.stochastic
    for name, value in clean.measures.items():
        if name != "state-gap":
            assert leaking.measures[name] == pytest.approx(value, abs=1e-9), name
    assert leaking.measures["gradient-stops/1"] == 1  # by its own name, not one inside a repaired model
    assert model[0]._memories == {"v": 0.0}


def test_without_the_state_put_back_the_second_batch_does_not_fit(made: Callable[..., nn.Sequential], faked: Dataset) -> None:
    model = made(resets=False)
    x, y = faked.test.pixels(torch.arange(10)).double(), faked.test.labels[:10]
    with pytest.raises(RuntimeError, match="size of tensor"):
        measure(model, x, y, rules=[RateGradient()], threat=EPS, seed=0, batch_size=4)
