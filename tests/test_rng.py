"""Randomness: scopes that restore, seeds that differ, noise that belongs to the image."""

import contextlib
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snnguard import rng

quick = settings(deadline=None, derandomize=True, max_examples=30)
part = st.one_of(st.integers(-1000, 1000), st.text("abc0-", max_size=4))


class Stop(Exception):
    pass


def state() -> tuple[object, ...]:
    return random.getstate(), torch.get_rng_state().tolist()


def test_a_scope_leaves_the_generators_as_they_were() -> None:
    before = state()
    with rng.scope(3):
        torch.rand(5)
        random.random()
    assert state() == before


def test_a_scope_restores_on_error_too() -> None:
    before = state()
    with contextlib.suppress(Stop), rng.scope(3):
        torch.rand(5)
        random.random()
        raise Stop
    assert state() == before


def test_a_scope_seeds_both_generators() -> None:
    drawn = []
    for _ in range(2):
        with rng.scope(11):
            drawn.append((torch.rand(3).tolist(), random.random()))
        torch.rand(1)
        random.random()
    assert drawn[0] == drawn[1]
    with rng.scope(12):
        other = (torch.rand(3).tolist(), random.random())
    assert other[0] != drawn[0][0]
    assert other[1] != drawn[0][1]
    with rng.scope(11):
        assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(11)))


def test_scopes_nest() -> None:
    with rng.scope(1):
        plain = torch.rand(4)
    with rng.scope(1):
        first = torch.rand(2)
        with rng.scope(2):
            torch.rand(7)
        second = torch.rand(2)
    assert torch.equal(torch.cat([first, second]), plain)


@quick
@given(st.lists(st.tuples(st.integers(0, 2**63), st.lists(part, max_size=4).map(tuple)), max_size=20, unique=True))
def test_other_paths_give_other_seeds(paths: list[tuple[int, tuple[str | int, ...]]]) -> None:
    seeds = [rng.derive(seed, *path) for seed, path in paths]
    assert len(set(seeds)) == len(paths)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seeds == [rng.derive(seed, *path) for seed, path in paths]


def test_numbers_and_their_text_are_other_paths() -> None:
    assert rng.derive(0, 1) != rng.derive(0, "1")
    assert rng.derive(0, "a", "b") != rng.derive(0, "ab")
    assert rng.derive(0, "a", "b") != rng.derive(0, "a/b")
    assert rng.derive(0, "a", "b") != rng.derive(0, "b", "a")
    assert rng.derive(1, 0) != rng.derive(0, 1)


def test_derived_seeds_do_not_move() -> None:
    """Published results name their seeds, so these numbers are part of the format."""
    assert rng.derive(0) == 4761921975702974394
    assert rng.derive(0, "epoch", 3) == 5085662302233639254


@pytest.mark.parametrize("draw", [rng.normal, rng.uniform])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_noise_belongs_to_the_image(draw, dtype: torch.dtype) -> None:  # type: ignore[no-untyped-def]
    x = torch.rand(7, 3, 4, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    before = state()
    noise = draw(x, 5)
    assert state() == before
    assert noise.shape == x.shape
    assert noise.dtype == dtype
    order = torch.tensor([4, 0, 6, 2, 1, 3, 5])
    assert torch.equal(draw(x[order], 5), noise[order])
    for i in range(len(x)):
        assert torch.equal(draw(x[i : i + 1], 5), noise[i : i + 1])
    assert torch.equal(draw(x.to(memory_format=torch.channels_last), 5), noise)
    assert not torch.equal(draw(x, 6), noise)
    assert len(torch.unique(noise.flatten(1).double(), dim=0)) == len(x)
    assert draw(x[:0], 5).shape == (0, 3, 4, 4)


def test_noise_has_its_distribution() -> None:
    x = torch.arange(20.0)[:, None, None, None] + torch.zeros(20, 1, 50, 50)
    n = x.numel()
    normal, uniform = rng.normal(x, 0).double(), rng.uniform(x, 0).double()
    assert abs(normal.mean()) < 4 / n**0.5
    assert abs(normal.var() - 1) < 4 * (2 / n) ** 0.5
    assert abs(uniform.mean() - 0.5) < 4 * (1 / 12 / n) ** 0.5
    assert uniform.min() >= 0
    assert uniform.max() < 1
