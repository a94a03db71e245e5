"""Class by class, by hand."""

import torch

from snnguard.analysis import class_robustness
from snnguard.record import Interval


def test_by_hand():
    y = torch.tensor([0, 0, 0, 0, 0, 2, 2])
    before = torch.tensor([0, 0, 0, 0, 1, 2, 0])
    after = torch.tensor([0, 2, 1, 2, 0, 2, 0])  # the fifth was wrong clean and is right attacked: that does not count
    first, third = class_robustness(y, before, after, ("cat", "dog", "owl"))
    assert (first.label, first.clean, first.attacked) == ("cat", Interval.of(4, 5), Interval.of(1, 5))
    assert first.confusions == (("owl", 2), ("dog", 1))
    assert (third.label, third.clean, third.attacked) == ("owl", Interval.of(1, 2), Interval.of(1, 2))
    assert third.confusions == (("cat", 1),)
    assert class_robustness(y, before, after, ("cat", "dog", "owl"), nearest=1)[0].confusions == (("owl", 2),)
