"""Pictures."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from snnguard.attacks import GaussianNoise, fgsm
from snnguard.data import Dataset
from snnguard.evaluation import pictures, png, to_image
from snnguard.evaluation.exhibits import spread
from snnguard.threat import Linf


def decode(text: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        assert image.format == "PNG"
        return np.asarray(image)


@pytest.mark.parametrize(("channels", "shape"), [(1, (5, 7)), (2, (5, 7)), (3, (5, 7, 3)), (4, (5, 7, 3))])
def test_a_png_is_the_image(channels: int, shape: tuple[int, ...]) -> None:
    image = torch.rand(channels, 5, 7, generator=torch.Generator().manual_seed(0))
    pixels = decode(png(image))
    assert pixels.shape == shape
    kept = image[:1] if channels < 3 else image[:3]
    expected = (kept * 255).round().byte().permute(1, 2, 0).numpy()
    assert (pixels.reshape(expected.shape) == expected).all()


def test_values_beyond_the_range_are_cut() -> None:
    assert np.asarray(to_image(torch.tensor([[[-1.0, 0.0, 1.0, 7.0]]]))).tolist() == [[0, 0, 255, 255]]


def test_pictures_show_what_the_attack_did(trained: nn.Module, faked: Dataset) -> None:
    x, y = faked.test.pixels(torch.arange(10)), faked.test.labels[:10]
    labels = ("zero", "one", "two", "three")
    found = pictures(trained, x, y, attacks={"FGSM": fgsm()}, threat=Linf(eps=0.2), labels=labels, seed=1, count=6)
    assert len(found) == 6
    chosen = spread(y, 6)
    x, y = x[chosen], y[chosen]
    for i, picture in enumerate(found):
        assert picture.label == labels[int(y[i])]
        assert picture.clean_label == labels[int(trained(x[i : i + 1]).argmax())]
        clean, adversarial, difference = map(decode, (picture.clean, picture.adversarial, picture.difference))
        assert clean.shape == adversarial.shape == difference.shape == (8, 8)
        assert (clean == (x[i, 0] * 255).round().byte().numpy()).all()
        assert abs(adversarial.astype(int) - clean).max() <= 0.2 * 255 + 1
        restored = torch.tensor(adversarial)[None, None] / 255
        assert picture.adversarial_label == labels[int(trained(restored).argmax())]
        # Grey where nothing moved; the largest change in the batch reaches an end of the range.
        assert picture.amplification == pytest.approx(1 / (2 * 0.2), rel=1e-2)
        moved = adversarial.astype(int) - clean
        assert (abs(difference.astype(int) - (127.5 + moved * picture.amplification)) <= 3).all()
    assert any(p.adversarial_label != p.clean_label for p in found)


def test_pictures_of_an_attack_that_changes_nothing(trained: nn.Module, faked: Dataset) -> None:
    x, y = faked.test.pixels(torch.arange(2)), faked.test.labels[:2]
    found = pictures(trained, x, y, attacks={"noise": GaussianNoise(std=0)}, threat=Linf(eps=0.2), labels="abcd")
    assert len(found) == 2
    assert all(p.amplification == 1 and p.adversarial == p.clean for p in found)
    assert set(decode(found[0].difference).flatten().tolist()) == {128}


def test_pictures_of_another_range(threshold: nn.Module) -> None:
    x = torch.tensor([-1.0, 1.0]).reshape(2, 1, 1, 1)
    found = pictures(
        threshold, x, torch.tensor([0, 1]), attacks={"FGSM": fgsm()}, threat=Linf(eps=0.5, low=-1, high=1), labels=("a", "b")
    )  # fmt: skip
    assert [decode(p.clean).item() for p in found] == [0, 255]
    assert [decode(p.adversarial).item() for p in found] == [64, 191]


def test_each_attack_shows_the_same_images(trained: nn.Module, faked: Dataset) -> None:
    x, y = faked.test.pixels(torch.arange(10)), faked.test.labels[:10]
    attacks = {"none": GaussianNoise(std=0), "FGSM": fgsm()}
    found = pictures(trained, x, y, attacks=attacks, threat=Linf(eps=0.2), labels="abcd", seed=1, count=3)
    assert [p.attack for p in found] == ["none"] * 3 + ["FGSM"] * 3
    assert [p.clean for p in found[:3]] == [p.clean for p in found[3:]]
    assert [p.amplification for p in found] == [1.0] * 3 + [found[3].amplification] * 3


def test_pictures_are_spread_over_the_classes() -> None:
    assert spread(torch.tensor([2, 2, 2, 0, 1, 0, 2]), 5).tolist() == [3, 4, 0, 5, 1]
    assert spread(torch.tensor([2, 2]), 5).tolist() == [0, 1]
    assert spread(torch.tensor([], dtype=torch.long), 5).tolist() == []
