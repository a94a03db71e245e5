"""Negative controls: networks that hide or spoil their gradient. Each raises the suspicion that names its fault, and `spike`
(shortened; `benchmarks/controls.py` has it in full) brings it down to what the same weights withstand with sane gradients.
Positive control: an adversarially trained ANN raises none."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from controls import FAULTS, SOUND, random, twin
from snnguard import recipes
from snnguard.data import Dataset
from snnguard.evaluation import Attacker, evaluate, suite, suites
from snnguard.record import Record
from snnguard.threat import Linf

EPS = Linf(eps=0.13)
SHORT = {"steps": 10, "queries": 30}


def judged(model: nn.Module, faked: Dataset, name: str) -> Record:
    x, y = faked.test.pixels(torch.arange(40)).double(), faked.test.labels[:40]
    chosen = suites.spike(Attacker(), **SHORT) if name == "spike" else suite(name)
    return evaluate(model, x, y, suite=chosen, threat=EPS, batch_size=40)


@pytest.fixture(scope="module")
def sane(trained: nn.Module, faked: Dataset) -> dict[str, Record]:
    """The same weights with sane gradients, with and without the grey levels in front of them."""
    return {name: judged(sound(copy.deepcopy(trained).double()), faked, "spike") for name, sound in SOUND.items()}


@pytest.mark.parametrize("code", FAULTS)
def test_a_fault_is_named_and_spike_is_not_fooled(
    code: str, sane: dict[str, Record], trained: nn.Module, faked: Dataset
) -> None:
    sound = sane[twin(code)]
    record = judged(FAULTS[code](copy.deepcopy(trained).double()), faked, "spike")
    assert code in {s.code for s in record.suspicions}
    assert code not in {s.code for s in sound.suspicions}
    assert 0 < sound.worst.point < sound.accuracy.point
    assert abs(record.worst.point - sound.worst.point) <= 0.026  # one image of 40


@pytest.mark.parametrize("code", ["gradient-stops", "narrow-window", "blind-in-eval"])
def test_the_same_faults_fool_pgd(code: str, trained: nn.Module, faked: Dataset) -> None:
    record = judged(FAULTS[code](copy.deepcopy(trained).double()), faked, "quick")
    sound = judged(copy.deepcopy(trained).double(), faked, "quick")
    blind = min(a.accuracy.point for a in record.attacks if a.rule in ("bptt", "own"))
    assert blind > sound.find("pgd-10/bptt").accuracy.point + 0.1


def test_a_random_network_judged_by_one_draw_is_named(trained: nn.Module, faked: Dataset) -> None:
    model = random(copy.deepcopy(trained))
    x, y = faked.test.pixels(torch.arange(32)), faked.test.labels[:32]
    one = evaluate(model, x, y, suite=suite("quick"), threat=EPS)
    assert "one-draw" in {s.code for s in one.suspicions}
    many = evaluate(model, x, y, suite=suite("quick", draws=8), threat=EPS)
    assert "one-draw" not in {s.code for s in many.suspicions}
    assert many.worst.point <= one.worst.point


def test_an_adversarially_trained_ann_raises_no_suspicion(tmp_path: Path) -> None:
    recipe = recipes.read("digits-at", ["network.spiking=false", "training.epochs=8"])
    run = recipes.train(recipe, out=tmp_path)
    for name in ("checks", "paper"):
        record = recipes.judge(run, suite_name=name, images=128, exhibits=False)
        assert record.suspicions == ()
        assert 0.3 < record.worst.point < record.accuracy.point  # it withstands, and not everything
        assert len(record.passed) > (12 if name == "checks" else 5)
