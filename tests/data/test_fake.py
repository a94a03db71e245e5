"""The made-up set."""

import pytest
import torch

from snnguard.data import fake


def test_sizes_shapes_and_repeatability() -> None:
    whole = fake(classes=5, image_shape=(1, 6, 10), train=30, validation=10, test=20, seed=3)
    assert (len(whole.train), len(whole.validation), len(whole.test)) == (30, 10, 20)
    assert whole.image_shape == (1, 6, 10)
    assert whole.train.labels.bincount().tolist() == [6] * 5
    again = fake(classes=5, image_shape=(1, 6, 10), train=30, validation=10, test=20, seed=3)
    assert again.fingerprint == whole.fingerprint
    assert fake(classes=5, image_shape=(1, 6, 10), train=30, validation=10, test=20).fingerprint != whole.fingerprint


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32)])
def test_the_nearest_class_mean_learns_it(shape: tuple[int, int, int]) -> None:
    whole = fake(image_shape=shape)
    x, y = whole.train.pixels(slice(None)).flatten(1), whole.train.labels
    means = torch.stack([x[y == k].mean(0) for k in range(whole.classes)])
    guess = torch.cdist(whole.test.pixels(slice(None)).flatten(1), means).argmin(1)
    assert float((guess == whole.test.labels).float().mean()) > 0.95


def test_the_callers_generator_is_untouched() -> None:
    before = torch.random.get_rng_state()
    fake(train=8, validation=4, test=4)
    assert torch.equal(before, torch.random.get_rng_state())
