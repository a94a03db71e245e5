"""Merges of skip and branch."""

import torch

from snnguard.layers import ConvexCombination, Sum, merge


def test_sum() -> None:
    assert torch.equal(Sum()(torch.tensor([1.0]), torch.tensor([2.0])), torch.tensor([3.0]))
    assert list(Sum().parameters()) == []


def test_convex_combination() -> None:
    module = ConvexCombination()
    assert {name: value.tolist() for name, value in module.state_dict().items()} == {"c": [0.5, 0.5]}
    skip, branch = torch.tensor([1.0, 2.0]), torch.tensor([10.0, 20.0])
    assert module(skip, branch).tolist() == [5.5, 11.0]
    with torch.no_grad():
        module.c.copy_(torch.tensor([0.25, 0.75]))
    assert module(skip, branch).tolist() == [7.75, 15.5]
    module(skip, branch).sum().backward()
    assert module.c.grad is not None
    assert module.c.grad.tolist() == [3.0, 30.0]


def test_by_name() -> None:
    assert isinstance(merge("sum"), Sum)
    assert isinstance(merge("convex"), ConvexCombination)
    assert merge("convex") is not merge("convex")
