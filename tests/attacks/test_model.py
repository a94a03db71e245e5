"""Holding a model still, asking it, and checking labels."""

import pytest
import torch
from torch import nn

from snnguard.attacks import check_labels, frozen, predict
from snnguard.errors import InvalidInput


@pytest.fixture
def net() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))


def test_frozen_holds_still_and_restores_each_flag_even_after_an_error(net: nn.Module) -> None:
    net.train()
    net[1].eval()
    net[3].bias.requires_grad_(False)
    before = [m.training for m in net.modules()], [p.requires_grad for p in net.parameters()]

    def fail() -> None:
        with frozen(net):
            assert not any(m.training for m in net.modules())
            assert not any(p.requires_grad for p in net.parameters())
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert ([m.training for m in net.modules()], [p.requires_grad for p in net.parameters()]) == before


def test_frozen_can_be_nested(net: nn.Module) -> None:
    with frozen(net):
        with frozen(net):
            pass
        assert not any(m.training for m in net.modules())
    assert all(m.training for m in net.modules())


def test_predict_is_in_eval_mode_whatever_the_batch_size(net: nn.Module) -> None:
    x = torch.rand(7, 3)
    statistics = net[1].running_mean.clone()
    logits = predict(net, x)
    with torch.no_grad():
        net.eval()
        expected = net(x)
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(predict(net, x, batch_size=2), expected)
    assert torch.equal(net[1].running_mean, statistics)
    assert not logits.requires_grad


def test_predict_averages_draws() -> None:
    calls = iter([1.0, 2.0, 6.0])
    logits = predict(lambda x: torch.full((len(x), 2), next(calls)), torch.rand(3, 2), draws=3)
    assert torch.equal(logits, torch.full((3, 2), 3.0))


@pytest.mark.parametrize("y", [[0, 1, 2], [0, 0, 0]])
def test_good_labels_pass(y: list[int]) -> None:
    check_labels(torch.rand(3, 2), torch.tensor(y), 3)
    check_labels(torch.rand(0, 2), torch.zeros(0, dtype=torch.int64), 3)


@pytest.mark.parametrize(
    ("y", "says"),
    [
        ([0, 1, 2], "list"),
        (torch.tensor([0.0, 1.0, 2.0]), "float32"),
        (torch.tensor([True, False, True]), "bool"),
        (torch.tensor([0, 1, 3]), "0 to 2; found 0 to 3"),
        (torch.tensor([0, -1, 2]), "found -1 to 2"),
        (torch.tensor([0, 1]), r"\(2,\)"),
    ],
)
def test_bad_labels_are_named(y: object, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        check_labels(torch.rand(3, 2), y, 3)
