"""The built-in digits."""

import torch
from sklearn.datasets import load_digits

from snnguard.data import digits


def test_digits_hold_all_images_once() -> None:
    whole = digits()
    assert whole.image_shape == (1, 8, 8)
    assert whole.labels == tuple("0123456789")
    parts = [whole.train, whole.validation, whole.test]
    images, labels = torch.cat([p.images for p in parts]), torch.cat([p.labels for p in parts])
    bunch = load_digits()
    expected = sorted((tuple(map(float, i.flatten())), int(t)) for i, t in zip(bunch.images, bunch.target, strict=True))
    values = (images.double() * 16 / 255).round().flatten(1).tolist()
    assert sorted(zip(map(tuple, values), labels.tolist(), strict=True)) == expected
    assert images.max() == 255


def test_digits_are_split_fairly_and_always_the_same() -> None:
    whole = digits()
    assert abs(len(whole.test) - 0.2 * 1797) < 60
    assert abs(len(whole.validation) - 0.1 * 0.8 * 1797) < 45
    assert all(count > 15 for count in whole.test.labels.bincount().tolist())
    assert whole.fingerprint == digits().fingerprint == "2ad356077b6ce6ba"


def test_statistics_come_from_the_training_images() -> None:
    whole = digits()
    x = whole.train.pixels(slice(None)).double()
    assert abs(float(x.mean()) - whole.mean[0]) < 1e-6
    assert abs(float(x.std(correction=0)) - whole.std[0]) < 1e-6
