"""Splits and data sets: shapes, ranges, provenance."""

import pytest
import torch
from torch import Tensor

from snnguard.data import Dataset, Split
from snnguard.data.dataset import fingerprint, moments
from snnguard.errors import DataError, InvalidInput


def make(n: int = 4, *, shape: tuple[int, int, int] = (1, 2, 2), highest: int = 1) -> Split:
    images = torch.arange(n * shape[0] * shape[1] * shape[2]).reshape(n, *shape).to(torch.uint8)
    return Split(images, torch.arange(n) % (highest + 1))


def dataset(**changes: object) -> Dataset:
    fields = {"name": "x", "train": make(6), "validation": make(2), "test": make(4), "labels": ("a", "b")}
    return Dataset(**{**fields, "mean": (0.5,), "std": (0.2,), **changes})  # type: ignore[arg-type]


def test_pixels_are_the_bytes_over_255() -> None:
    split = Split(torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(3, 1, 1, 1), torch.zeros(3, dtype=torch.int64))
    x = split.pixels(slice(None))
    assert x.dtype == torch.float32
    assert x.flatten().tolist() == pytest.approx([0.0, 0.2, 1.0])
    assert torch.equal(split.pixels(torch.tensor([2, 0]), "cpu").flatten(), torch.tensor([1.0, 0.0]))


def test_subset_is_the_first_n() -> None:
    split = make(4)
    assert torch.equal(split.subset(3).images, split.images[:3])
    assert len(split.subset(9)) == len(split.to("cpu")) == 4
    assert split.take(torch.tensor([3, 1])).labels.tolist() == [1, 1]
    with pytest.raises(InvalidInput, match="at least 1"):
        split.subset(0)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 1, 2, 2), torch.zeros(2, dtype=torch.int64), r"must be uint8.*float32 \[2, 1, 2, 2\]"),
        (torch.zeros(2, 2, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), r"uint8 \[2, 2\]"),
        (torch.zeros(0, 1, 2, 2, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64), "not empty"),
        (torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.zeros(2), "labels must be int64"),
        (torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), "for 2 images"),
        (torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, -3]), "found -3 in row 1"),
    ],
)
def test_a_split_refuses_what_is_none(images: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Split(images, labels)


def test_dataset_describes_itself() -> None:
    whole = dataset(note="JPEG")
    assert (whole.classes, whole.image_shape) == (2, (1, 2, 2))
    expected = "x: 6 train, 2 validation, 4 test images 1x2x2 in 2 classes, fingerprint"
    assert whole.describe() == f"{expected} {whole.fingerprint} (JPEG)"
    assert dataset().describe() == f"{expected} {whole.fingerprint}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test": make(4, shape=(1, 2, 3))}, "test split are 1x2x3, those of the train split 1x2x2"),
        ({"validation": make(4, highest=2)}, "label 2 in row 2 of the validation split is out of range.*0 to 1"),
        ({"mean": (0.1, 0.2, 0.3)}, "each of its 1 channels"),
        ({"std": (0.0,)}, "positive std"),
    ],
)
def test_a_dataset_refuses_contradictions(changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        dataset(**changes)


def test_fingerprint_tells_content_shape_and_type() -> None:
    whole = dataset()
    other = make(6)
    other.images[0, 0, 0, 0] += 1
    assert dataset(train=other).fingerprint != whole.fingerprint
    assert fingerprint([torch.zeros(4)]) != fingerprint([torch.zeros(2, 2)])
    assert fingerprint([torch.zeros(4)]) != fingerprint([torch.zeros(4, dtype=torch.int32)])
    assert fingerprint([torch.arange(6).reshape(2, 3).t()]) == fingerprint([torch.tensor([[0, 3], [1, 4], [2, 5]])])


def test_moments_agree_with_torch() -> None:
    images = torch.randint(256, (50, 3, 4, 4), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    x = images.double() / 255
    mean, std = moments(images)
    assert mean == pytest.approx(x.mean((0, 2, 3)).tolist())
    assert std == pytest.approx(x.std((0, 2, 3), correction=0).tolist())
    assert moments(torch.full((2, 1, 2, 2), 51, dtype=torch.uint8)) == (pytest.approx((0.2,)), (1.0,))
