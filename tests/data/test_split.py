"""The hashed split: bound to the pixels, to nothing else."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from snnguard.data import hash_order, holdout
from snnguard.errors import DataError, InvalidInput


def noise(n: int, seed: int = 0) -> Tensor:
    return torch.randint(256, (n, 1, 4, 4), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


@given(st.permutations(range(40)))
def test_holdout_moves_with_the_images(order: list[int]) -> None:
    images = noise(40)
    assert torch.equal(holdout(images[order], share=0.3), holdout(images, share=0.3)[order])


@given(st.permutations(range(40)))
def test_hash_order_forgets_the_order(order: list[int]) -> None:
    images = noise(40)
    shuffled = images[order]
    assert torch.equal(shuffled[hash_order(shuffled)], images[hash_order(images)])


@given(st.lists(st.integers(0, 5), min_size=12, max_size=30), st.floats(0.05, 0.9))
def test_equal_images_stay_together(choice: list[int], share: float) -> None:
    images = noise(6)[[0, 1, 2, 3, 4, 5, *choice]]
    try:
        mask = holdout(images, share=share)
    except DataError:
        return  # all six fell on one side
    for i, k in enumerate(choice):
        assert mask[6 + i] == mask[k]


def test_share_is_met_and_larger_shares_hold_smaller_ones() -> None:
    images = noise(5000)
    tenth, third = holdout(images), holdout(images, share=0.3)
    assert float(tenth.float().mean()) == pytest.approx(0.1, abs=0.015)  # 3.5 standard deviations
    assert float(third.float().mean()) == pytest.approx(0.3, abs=0.025)
    assert bool((third | ~tenth).all())


def test_purposes_are_independent() -> None:
    images = noise(5000)
    both = holdout(images, share=0.2, purpose="test") & holdout(images, share=0.2)
    assert float(both.float().mean()) == pytest.approx(0.04, abs=0.01)


def test_the_hash_never_changes() -> None:
    """Golden values: another split would make old and new numbers incomparable."""
    images = torch.arange(160, dtype=torch.uint8).reshape(10, 1, 4, 4)
    assert holdout(images, share=0.3).nonzero().flatten().tolist() == [0, 2, 3, 8, 9]
    assert hash_order(images).tolist() == [9, 0, 7, 4, 3, 1, 8, 5, 6, 2]


def test_small_sets_still_give_both_sides() -> None:
    for seed in range(20):
        mask = holdout(noise(3, seed))
        assert 1 <= int(mask.sum()) <= 2
    with pytest.raises(DataError, match="too few of them differ"):
        holdout(noise(1)[[0, 0, 0]])
    assert not holdout(noise(3), share=0).any()
    with pytest.raises(InvalidInput, match="found 1"):
        holdout(noise(3), share=1)
