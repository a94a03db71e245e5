"""Latency and burst coding: tables by hand, counts for any pixel, and the masked identity as gradient."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from snnguard.encoders import Encoder
from snnguard.encoders.timing import Burst, Latency
from snnguard.networks import build

ENCODERS: list[Encoder] = [Latency(), Burst(), Burst(side="late")]
PIXELS = st.floats(min_value=2**-20, max_value=1, width=32)  # 1 - x is 1 in single precision below 2**-25


def unused(x: Tensor) -> Tensor:
    raise AssertionError("these encoders do not normalise")


def train(encoder: Encoder, *pixels: float, steps: int) -> list[list[float]]:
    """The spikes of each pixel, in time."""
    x = torch.tensor(pixels).reshape(1, len(pixels), 1, 1, 1)
    spikes = encoder.encode(x, steps=steps, normalize=unused)
    assert spikes.shape == (steps, len(pixels), 1, 1, 1)
    return spikes.flatten(1).T.tolist()


def test_latency_by_hand() -> None:
    # floor((1 - x) 4): 1 -> 0, 0.75 -> 1, 0.7 -> 1, 0.5 -> 2, 0.3 -> 2, 0.25 -> 3, 0.01 -> 3, 0 -> never.
    table = train(Latency(), 1.0, 0.75, 0.7, 0.5, 0.3, 0.25, 0.01, 0.0, steps=4)
    assert [row.index(1.0) if any(row) else None for row in table] == [0, 1, 1, 2, 2, 3, 3, None]


@given(PIXELS, st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_latency_fires_once_for_any_pixel_but_black_and_white_first(x: float, steps: int) -> None:
    pixel, white, black = train(Latency(), x, 1.0, 0.0, steps=steps)
    assert sorted(pixel) == [0.0] * (steps - 1) + [1.0]
    assert white == [1.0] + [0.0] * (steps - 1)
    assert black == [0.0] * steps


def test_pixels_on_the_border_of_two_steps_belong_to_the_later_one() -> None:
    table = train(Latency(), 85 / 255, 170 / 255, steps=3)  # 8-bit thirds, which no float32 is
    assert [row.index(1.0) for row in table] == [2, 1]


def test_brighter_pixels_fire_no_later() -> None:
    pixels = torch.linspace(0.01, 1, 50).tolist()
    times = [row.index(1.0) for row in train(Latency(), *pixels, steps=7)]
    assert times == sorted(times, reverse=True)
    assert set(times) == set(range(7))


def test_bursts_by_hand() -> None:
    # ceil(4 x) spikes: 0 -> 0, 0.1 -> 1, 0.25 -> 1, 0.3 -> 2, 0.75 -> 3, 0.76 -> 4, 1 -> 4.
    pixels = (0.0, 0.1, 0.25, 0.3, 0.75, 0.76, 1.0)
    early = train(Burst(), *pixels, steps=4)
    assert early == [[1.0] * n + [0.0] * (4 - n) for n in (0, 1, 1, 2, 3, 4, 4)]
    assert train(Burst(side="late"), *pixels, steps=4) == [[0.0] * (4 - n) + [1.0] * n for n in (0, 1, 1, 2, 3, 4, 4)]


@given(st.integers(0, 1000), st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_bursts_have_as_many_spikes_as_the_pixel_says_and_mirror_each_other(thousandths: int, steps: int) -> None:
    x = thousandths / 1000
    (early,), (late,) = (train(Burst(side=side), x, steps=steps) for side in ("early", "late"))
    assert late == early[::-1]
    assert sum(early) == math.ceil(thousandths * steps / 1000)
    assert early == sorted(early, reverse=True)


@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
def test_the_gradient_is_the_identity_where_it_fired(encoder: Encoder) -> None:
    x = torch.rand(3, 2, 4, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    weight = torch.randn(5, 3, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    spikes = encoder.encode(x[None], steps=5, normalize=unused)
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    (gradient,) = torch.autograd.grad((spikes * weight).sum(), x)
    torch.testing.assert_close(gradient, torch.where(spikes.detach() == 1, weight, torch.zeros(())).sum(0))
    black = torch.zeros(1, 1, 2, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(encoder.encode(black[None], steps=5, normalize=unused).sum(), black)
    assert torch.equal(gradient, torch.zeros_like(black))


@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
def test_images_that_differ_from_step_to_step_are_asked_in_their_own_step(encoder: Encoder) -> None:
    x = torch.rand(5, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    spikes = encoder.encode(x, steps=5, normalize=unused)
    assert spikes.shape == x.shape
    for t in range(5):
        assert torch.equal(spikes[t], encoder.encode(x[t : t + 1], steps=5, normalize=unused)[t])


@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
def test_they_are_deterministic_and_known_by_their_names(encoder: Encoder) -> None:
    assert Encoder.parse(encoder.to_json()) == encoder
    model = build("vgg4-tiny", image_shape=(1, 8, 8), encoder=encoder).eval()
    assert not model.stochastic
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model(x), model(x))
