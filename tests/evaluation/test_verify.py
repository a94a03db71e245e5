"""A submitted record: an honest one holds, an embellished one does not."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from snnguard.attacks import PGD, fgsm
from snnguard.data import Dataset
from snnguard.errors import RequestError
from snnguard.evaluation import Entry, Suite, evaluate, suite, suites
from snnguard.evaluation.verify import verify
from snnguard.record import Record
from snnguard.threat import Linf


def judged(model: nn.Module, faked: Dataset, name: str) -> tuple[Record, Tensor, Tensor]:
    x, y = faked.test.pixels(torch.arange(40)).double(), faked.test.labels[:40]
    chosen = suites.spike(suites.Attacker(), steps=3, queries=20) if name == "spike" else suite(name)
    return evaluate(model, x, y, suite=chosen, threat=Linf(eps=0.13), seed=3), x, y


@pytest.mark.parametrize("name", ["paper", "spike"])
def test_an_honest_record_holds(name: str, trained: nn.Module, faked: Dataset) -> None:
    record, x, y = judged(trained.double(), faked, name)
    assert 0 < record.worst.point < record.accuracy.point
    found = verify(record, trained, x, y, images=15, sample_seed=4)
    assert (found.images, found.compared) == (15, 15 * (1 + len(record.attacks)))
    assert (found.differ, found.fell) == (0, 0)
    assert found.holds


def test_an_embellished_record_does_not(trained: nn.Module, faked: Dataset) -> None:
    record, x, y = judged(trained.double(), faked, "paper")
    shining = tuple(replace(a, correct=record.clean) for a in record.attacks)
    found = verify(replace(record, attacks=shining), trained, x, y, images=20)
    assert not found.holds
    assert found.fell > 1


def test_a_record_of_other_images_is_refused(trained: nn.Module, faked: Dataset) -> None:
    record, x, y = judged(trained.double(), faked, "quick")
    with pytest.raises(RequestError, match="about 40 images, found 39"):
        verify(record, trained, x[:39], y[:39])


@pytest.mark.parametrize("cascade", [False, True])
def test_what_only_a_substitute_turned_is_not_asked_of_the_others(cascade: bool, threshold: nn.Module) -> None:
    x = torch.tensor([0.55, 0.58, 0.70, 0.45, 0.42, 0.20]).reshape(6, 1, 1, 1)
    y = torch.tensor([1, 1, 1, 0, 0, 0])
    weak = PGD(steps=1, step_fraction=0.55, random_start=False)  # turns 0.55 and 0.45
    entries = (
        Entry(name="first", attack=weak), Entry(name="transfer-twin", attack=fgsm(), substitute="twin"),
        Entry(name="last", attack=weak),
    )  # fmt: skip
    chosen = Suite(name="toy", entries=entries, cascade=cascade)
    record = evaluate(threshold, x, y, suite=chosen, threat=Linf(eps=0.1), substitutes={"twin": threshold})
    assert record.worst_flags.values == (False, False, True, False, False, True)
    found = verify(record, threshold, x, y)
    assert (found.images, found.compared) == ((4, 12) if cascade else (6, 18))
    assert (found.differ, found.fell) == (0, 0)
