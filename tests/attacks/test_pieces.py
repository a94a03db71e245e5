"""Pieces: every sample once and in order, smaller where memory ends, and the same numbers."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from snnguard import networks
from snnguard.attacks import PGD, InputGradient, predict
from snnguard.attacks.aim import Aim
from snnguard.attacks.pieces import Pieces, at_most
from snnguard.errors import OutOfMemory
from snnguard.neurons import ASSG
from snnguard.threat import Linf


@given(count=st.integers(0, 70), room=st.integers(1, 80), most=st.none() | st.integers(1, 80))
def test_every_sample_is_worked_on_once_and_in_order(count: int, room: int, most: int | None) -> None:
    def work(piece: slice) -> list[int]:
        if piece.stop - piece.start > room:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return list(range(piece.start, piece.stop))

    pieces = Pieces(most)
    assert [i for part in pieces(count, work) for i in part] == list(range(count))
    assert pieces.most is None or pieces.most <= max(room, most or 0)
    assert len(pieces(count, work)) <= 1 + 2 * count // min(room, most or count or 1)  # and now it knows


def test_one_image_that_does_not_fit_is_said_and_other_errors_pass() -> None:
    def full(_: slice) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def wrong(_: slice) -> None:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(OutOfMemory, match="not even one image"):
        Pieces()(5, full)
    with pytest.raises(RuntimeError, match="shapes"):
        Pieces()(5, wrong)


def test_a_limit_holds_for_what_is_begun_within_it_and_the_smallest_one_counts() -> None:
    def sizes(pieces: Pieces) -> list[int]:
        return pieces(10, lambda piece: piece.stop - piece.start)

    before = Pieces()
    with at_most(4):
        assert sizes(before) == [10]
        assert sizes(Pieces()) == sizes(Pieces(7)) == [4, 4, 2]
        assert sizes(Pieces(3)) == [3, 3, 3, 1]
        with at_most(5):
            assert sizes(Pieces()) == [4, 4, 2]
        with pytest.raises(KeyError), at_most(1):
            raise KeyError
        with at_most(None):
            assert sizes(Pieces()) == [4, 4, 2]
    assert sizes(Pieces()) == [10]


class _Small(nn.Module):
    """A model on a machine with room for three images."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Any:
        if len(x) > 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        return self.model(x)


@pytest.mark.parametrize("rule", [None, ASSG()], ids=["bptt", "with memory"])
def test_attacks_and_predictions_do_not_notice(rule: Any) -> None:
    model = networks.build("vgg4-tiny", image_shape=(1, 8, 8), steps=3, seed=0).eval().double()
    small = _Small(model)
    x = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = model(x).argmax(1)
    assert torch.allclose(predict(small, x), predict(model, x), atol=1e-12)
    attack = PGD(steps=4, early_stop=True, gradient=InputGradient(rule=rule))
    large, little = (attack(net, x, y, threat=Linf(eps=0.1), seed=0) for net in (model, small))
    assert torch.equal(large, little)


class _FullAtTheEnd(nn.Module):
    """Memory ends in the last layer: those before have done their work, and may have remembered it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Any:
        logits = self.model(x)
        if len(x) > 3:
            raise RuntimeError("CUDA out of memory")
        return logits


def test_what_a_failed_attempt_remembered_is_forgotten() -> None:
    model = networks.build("vgg4-tiny", image_shape=(1, 8, 8), steps=3, seed=0).eval().double()
    x = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gradient, found = InputGradient(rule=ASSG()), []
    for net in (model, _FullAtTheEnd(model).eval()):
        ask = gradient.begin(net, len(x))
        for rows in (None, torch.tensor([0, 2, 3, 5, 7]), None):
            given = x if rows is None else x[rows]
            ascent = ask(given, Aim(torch.zeros(len(given), dtype=torch.long)), rows)
        found.append(ascent.gradient)
    assert torch.equal(*found)


def test_a_network_in_training_is_not_split() -> None:
    model = networks.build("vgg4-tiny", image_shape=(1, 8, 8), steps=3, seed=0).train()
    with pytest.raises(RuntimeError, match="out of memory"):
        InputGradient()(_FullAtTheEnd(model).train(), torch.rand(8, 1, 8, 8), torch.zeros(8, dtype=torch.long))


def test_no_images_are_no_problem() -> None:
    model = networks.build("vgg4-tiny", image_shape=(1, 8, 8), steps=3, seed=0).eval()
    assert predict(model, torch.zeros(0, 1, 8, 8)).shape == (0, 10)
    assert InputGradient()(model, torch.zeros(0, 1, 8, 8), torch.zeros(0, dtype=torch.long)).gradient.shape == (0, 1, 8, 8)
