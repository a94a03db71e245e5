"""Crop, flip and cutout against what they must do to simple images."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from snnguard.data import Augmentation
from snnguard.errors import InvalidInput


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ramp(n: int, height: int = 5, width: int = 7) -> Tensor:
    """Images whose pixels are all different and above 0."""
    one = torch.arange(1, 2 * height * width + 1).reshape(1, 2, height, width) / (2 * height * width)
    return one.repeat(n, 1, 1, 1)


def test_nothing_asked_returns_the_input_itself() -> None:
    x, g = ramp(2), generator()
    state = g.get_state()
    assert Augmentation()(x, g) is x
    assert torch.equal(state, g.get_state())


@given(st.integers(1, 6), st.integers(0, 1000))
def test_crop_is_a_shift_with_zeros(crop: int, seed: int) -> None:
    x = ramp(1)
    y = Augmentation(crop=crop)(x, generator(seed))
    padded = torch.nn.functional.pad(x, (crop,) * 4)
    windows = padded.unfold(2, 5, 1).unfold(3, 7, 1)  # every crop that is allowed
    assert any(torch.equal(y, windows[:, :, i, j]) for i in range(2 * crop + 1) for j in range(2 * crop + 1))


def test_every_offset_occurs_and_samples_differ() -> None:
    y = Augmentation(crop=1)(ramp(400), generator())
    assert len({tuple(image.flatten().tolist()) for image in y}) == 9


def test_flip_mirrors_about_half() -> None:
    x = ramp(1000)
    y = Augmentation(flip=True)(x, generator())
    mirrored = (y == x.flip(3)).flatten(1).all(1)
    same = (y == x).flatten(1).all(1)
    assert bool((mirrored ^ same).all())
    assert 0.45 < float(mirrored.float().mean()) < 0.55


@given(st.integers(0, 1000))
def test_flip_twice_with_the_same_draw_is_nothing(seed: int) -> None:
    x, flip = ramp(8), Augmentation(flip=True)
    assert torch.equal(flip(flip(x, generator(seed)), generator(seed)), x)


@given(st.integers(1, 4), st.integers(0, 1000))
def test_cutout_blanks_one_square(side: int, seed: int) -> None:
    x = ramp(6, 9, 9)
    y = Augmentation(cutout=side)(x, generator(seed))
    hole = y == 0
    assert torch.equal(y[~hole], x[~hole])
    assert torch.equal(hole[:, 0], hole[:, 1])
    for one in hole[:, 0]:
        rows, columns = one.any(1).sum(), one.any(0).sum()
        assert int(one.sum()) == int(rows * columns)  # a full rectangle
        assert side // 2 <= rows <= side
        assert 1 <= columns <= side


def test_all_together_stay_in_range_and_repeat() -> None:
    x = torch.rand(16, 3, 8, 8, generator=generator(1))
    every = Augmentation(crop=2, flip=True, cutout=3)
    y = every(x, generator())
    assert y.shape == x.shape
    assert float(y.min()) >= 0
    assert float(y.max()) <= 1
    assert torch.equal(y, every(x, generator()))
    assert not torch.equal(y, every(x, generator(5)))


def test_bad_requests() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        Augmentation(crop=-1)
    with pytest.raises(InvalidInput, match=r"found \[2, 5, 7\]"):
        Augmentation(crop=1)(ramp(1)[0], generator())
    assert Augmentation.parse({"crop": 4, "flip": True}).to_json() == {"crop": 4, "flip": True, "cutout": 0}
