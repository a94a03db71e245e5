"""Choosing and loading data sets by name."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from snnguard.data import Augmentation, Data, default_augmentation, digits, load
from snnguard.errors import DataError, InvalidRecipe


def test_a_choice_survives_json() -> None:
    data = Data(name="cifar10", path="somewhere", train_size=100, note="mine")
    assert Data.parse(data.to_json()) == data
    assert Data() == Data(name="digits")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "cfar10"}, "unknown data set 'cfar10'; did you mean 'cifar10'"),
        ({"name": "images"}, "needs a path"),
        ({"name": "digits", "path": "x"}, "takes no path"),
        ({"train_size": 0}, "train_size: Input should be greater than 0"),
        ({"size": 3}, "size: no such field"),
    ],
)
def test_bad_choices_say_why(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRecipe, match=message):
        Data.parse(fields)
    with pytest.raises(ValidationError):
        Data(**fields)


def test_digits_and_caps_are_prefixes() -> None:
    whole, capped = load(Data()), load(Data(train_size=100, test_size=50, note="small"))
    assert whole.fingerprint == digits().fingerprint
    assert (len(capped.train), len(capped.validation), len(capped.test)) == (100, len(whole.validation), 50)
    assert torch.equal(capped.train.images, whole.train.images[:100])
    assert torch.equal(capped.test.labels, whole.test.labels[:50])
    assert (capped.mean, capped.note) == (whole.mean, "small")


def test_fake_makes_as_many_as_asked() -> None:
    whole = load(Data(name="fake", train_size=700, validation_size=3, test_size=5))
    assert (len(whole.train), len(whole.validation), len(whole.test)) == (700, 3, 5)
    assert whole.note == "made up"


def test_own_images(folder: Path) -> None:
    whole = load(Data(name="images", path=str(folder)))
    assert whole.labels == ("0", "1", "2", "3")
    assert len(whole.train) + len(whole.validation) == 20
    assert len(whole.test) == 8
    x = whole.train.pixels(slice(None)).double()
    assert whole.mean == pytest.approx(x.mean((0, 2, 3)).tolist(), abs=1e-6)
    assert load(Data(name="images", path=str(folder))).fingerprint == whole.fingerprint


def test_the_order_of_the_file_does_not_matter(folder: Path, tmp_path: Path, write: Any, encode: Any) -> None:
    for name, n, start in (("train", 20, 0), ("test", 8, 100)):
        images = [encode(start + i) for i in range(n)][::-1]
        write(tmp_path / "other" / f"{name}.parquet", images=images, labels=[i % 4 for i in range(n)][::-1])
    sets = [load(Data(name="images", path=str(path))) for path in (folder, tmp_path / "other")]
    assert sets[0].fingerprint == sets[1].fingerprint


def test_known_sets_bring_their_facts(folder: Path) -> None:
    whole = load(Data(name="cifar10", path=str(folder)))
    assert whole.labels[:3] == ("airplane", "automobile", "bird")
    assert whole.std == (0.2023, 0.1994, 0.2010)
    assert whole.note == ""
    assert len(load(Data(name="tiny-imagenet", path=str(folder))).labels) == 200


def test_jpeg_is_noted_where_the_release_has_plain_pixels(tmp_path: Path, write: Any, encode: Any) -> None:
    jpeg = [encode(i, format="JPEG") for i in range(20)]
    write(tmp_path / "train.parquet", images=jpeg)
    write(tmp_path / "test.parquet", images=jpeg[:5])
    whole = load(Data(name="svhn", path=str(tmp_path), note="half"))
    assert whole.note == "JPEG-recompressed: not pixel-identical to the official release; half"
    assert load(Data(name="images", path=str(tmp_path))).note == ""


def test_labels_out_of_range(tmp_path: Path, write: Any) -> None:
    write(tmp_path / "train.parquet")
    write(tmp_path / "test.parquet", labels=[0] * 19 + [7], start=50)
    with pytest.raises(DataError, match=r"label 7 in row \d+ of the test split is out of range.*0 to 3"):
        load(Data(name="images", path=str(tmp_path)))


def test_default_augmentation() -> None:
    assert default_augmentation(Data(name="cifar10")) == Augmentation(crop=4, flip=True)
    assert default_augmentation(Data(name="svhn")) == Augmentation(crop=4)
    assert default_augmentation(Data()) == Augmentation()


def test_another_set_under_a_known_name(tmp_path: Path, encode: Any) -> None:
    for split in ("train", "test"):
        for k, name in enumerate(("cat", "dog")):
            (tmp_path / "set" / split / name).mkdir(parents=True)
            for i in range(6):
                (tmp_path / "set" / split / name / f"{i}.png").write_bytes(encode(10 * k + i))
    with pytest.raises(DataError, match=r"cifar10 has 10 classes, .* has 2; give name='images'"):
        load(Data(name="cifar10", path=str(tmp_path / "set")))
    assert load(Data(name="images", path=str(tmp_path / "set"))).labels == ("cat", "dog")
