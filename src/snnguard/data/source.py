"""Which data set: a choice that can be written down, and the function that loads it."""

from dataclasses import dataclass, replace
from typing import Any, Self

from pydantic import PositiveInt, model_validator

from snnguard.choice import Choice, unknown
from snnguard.errors import DataError, RequestError, UnknownName

from . import hub
from .augment import Augmentation
from .dataset import Dataset, Split, moments
from .digits import digits
from .fake import fake
from .split import hash_order, holdout

RECOMPRESSED = "JPEG-recompressed: not pixel-identical to the official release"
CROP_AND_FLIP = Augmentation(crop=4, flip=True)


@dataclass(frozen=True, kw_only=True)
class Known:
    """Facts about a public data set, RGB; `lossless` says that the official release holds plain pixels."""

    hub: str
    config: str | None = None
    classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    labels: tuple[str, ...] = ()
    augmentation: Augmentation = CROP_AND_FLIP
    lossless: bool = True


# SOURCE: mean and std as in the code of SNN-RAT, which later papers copied; the true std of CIFAR-10 is larger
# (0.2470, 0.2435, 0.2616), but published networks and numbers belong to these.
KNOWN = {
    "cifar10": Known(
        hub="uoft-cs/cifar10",
        classes=10,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
        labels=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    ),
    "cifar100": Known(hub="uoft-cs/cifar100", classes=100, mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761)),
    "svhn": Known(
        hub="ufldl-stanford/svhn",
        config="cropped_digits",
        classes=10,
        mean=(0.4377, 0.4438, 0.4728),
        std=(0.1980, 0.2010, 0.1970),
        augmentation=Augmentation(crop=4),  # a mirrored digit is no digit
    ),
    "tiny-imagenet": Known(
        hub="zh-plus/tiny-imagenet",
        classes=200,
        mean=(0.480, 0.448, 0.398),
        std=(0.272, 0.266, 0.274),
        lossless=False,
    ),
}
BUILT_IN = ("digits", "fake")
NAMES = (*BUILT_IN, *KNOWN, "images")


class Data(Choice):
    """A data set by name: `digits`, `fake`, one of the public ones, or `images` for any other at `path`.

    `path` is a parquet file or folder, an image folder (train/CLASS/*, test/CLASS/*) or a hub name ("user/set"). The
    sizes cap the splits to the first n of a fixed hash order, except `fake`, which makes as many. `note` goes to the
    provenance.
    """

    name: str = "digits"
    path: str | None = None
    train_size: PositiveInt | None = None
    validation_size: PositiveInt | None = None
    test_size: PositiveInt | None = None
    note: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.name not in NAMES:
            raise UnknownName(f"{unknown('data set', self.name, NAMES)} (name='images' with a path takes any other)")
        if self.name == "images" and not self.path:
            raise RequestError("name 'images' needs a path: a folder of parquet files or images, or a hub name")
        if self.name in BUILT_IN and self.path:
            raise RequestError(f"{self.name!r} is built in and takes no path; for your own images give name='images'")
        return self


def load(data: Data) -> Dataset:
    """The data set, every split in a fixed hash order. Raises `DataError`.

    If the source has no validation split beside its test split, a hashed 10 % of the training images becomes it.
    """
    if data.name == "fake":
        given: dict[str, Any] = {"train": data.train_size, "validation": data.validation_size, "test": data.test_size}
        whole = fake(**{name: size for name, size in given.items() if size})
    elif data.name == "digits":
        whole = digits()
    else:
        whole = _external(data)
    return replace(
        whole,
        train=whole.train.subset(data.train_size or len(whole.train)),
        validation=whole.validation.subset(data.validation_size or len(whole.validation)),
        test=whole.test.subset(data.test_size or len(whole.test)),
        note="; ".join(note for note in (whole.note, data.note) if note),
    )


def default_augmentation(data: Data) -> Augmentation:
    """What training on this data set usually applies: crop and flip for photographs, nothing for unknown images."""
    return KNOWN[data.name].augmentation if data.name in KNOWN else Augmentation()


def _external(data: Data) -> Dataset:
    known = KNOWN.get(data.name)
    asked = data.path or (known.hub if known else "")
    source = hub.read(asked, config=known.config if known and asked == known.hub else None)
    train, test, validation = source.splits["train"], source.splits["test"], source.splits.get("validation")
    labels = source.names
    if not labels:
        count = known.classes if known else int(train.labels.max()) + 1
        labels = (known.labels if known else ()) or tuple(map(str, range(count)))
    if known and len(labels) != known.classes:
        raise DataError(
            f"{data.name} has {known.classes} classes, {asked} has {len(labels)}; give name='images' for another data set"
        )
    if validation is None:
        held = holdout(train.images)
        train, validation = train.take(~held), train.take(held)
    mean, std = (known.mean, known.std) if known else moments(train.images)
    return Dataset(
        name=data.name,
        train=_ordered(train),
        validation=_ordered(validation),
        test=_ordered(test),
        labels=labels,
        mean=mean,
        std=std,
        note=RECOMPRESSED if known and known.lossless and source.lossy else "",
    )


def _ordered(split: Split) -> Split:
    return split.take(hash_order(split.images))
