"""A data set in memory: one uint8 tensor and one label tensor per split."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from snnguard.errors import DataError, InvalidInput


@dataclass(frozen=True, eq=False)
class Split:
    """Images uint8 [N, C, H, W] and labels int64 [N], N >= 1. Raises `InvalidInput` for anything else."""

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4 or self.images.numel() == 0:
            raise InvalidInput(f"images must be uint8 [N, C, H, W] and not empty; found {_form(self.images)}")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            found = f"{_form(self.labels)} for {len(self.images)} images"
            raise InvalidInput(f"labels must be int64 [N], one per image; found {found}")
        if self.labels.min() < 0:
            row = int(self.labels.argmin())
            raise InvalidInput(f"labels must be 0 or more; found {int(self.labels[row])} in row {row}")

    def __len__(self) -> int:
        return len(self.images)

    def pixels(self, index: slice | Tensor, device: torch.device | str | None = None) -> Tensor:
        """The indexed images as float32 [n, C, H, W] in [0, 1], on `device` (default: where they lie)."""
        if isinstance(index, Tensor):
            index = index.to(self.images.device)
        return self.images[index].to(device or self.images.device).float().div_(255)

    def take(self, index: slice | Tensor) -> "Split":
        """The split of the indexed samples, in the order of the index."""
        if isinstance(index, Tensor):
            index = index.to(self.images.device)
        return Split(self.images[index], self.labels[index])

    def subset(self, n: int) -> "Split":
        """The split of the first `n` samples, or of all if there are fewer. Raises `InvalidInput` for `n` < 1."""
        if n < 1:
            raise InvalidInput(f"a split needs at least 1 image; asked for {n}")
        return Split(self.images[:n], self.labels[:n])

    def to(self, device: torch.device | str) -> "Split":
        """The same split on `device`."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
    """Three splits of equal image shape, class names, and the mean and std per channel (in [0, 1] units).

    Raises `DataError` when the parts contradict each other.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    labels: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    note: str = ""

    def __post_init__(self) -> None:
        for name, split in self._splits():
            if split.images.shape[1:] != self.train.images.shape[1:]:
                raise DataError(
                    f"{self.name}: images of the {name} split are {_size(split)}, those of the train split "
                    f"{_size(self.train)}; bring all images to one size"
                )
            highest = int(split.labels.max())
            if highest >= self.classes:
                raise DataError(
                    f"{self.name}: label {highest} in row {int(split.labels.argmax())} of the {name} split is out of "
                    f"range; the {self.classes} classes have labels 0 to {self.classes - 1}"
                )
        if not len(self.mean) == len(self.std) == self.image_shape[0] or min(self.std) <= 0:
            raise DataError(
                f"{self.name}: needs a mean and a positive std for each of its {self.image_shape[0]} channels; "
                f"found mean {self.mean} and std {self.std}"
            )

    @property
    def classes(self) -> int:
        """The number of classes K."""
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of the content: equal pixels and labels in equal order give equal fingerprints."""
        return fingerprint(tensor for _, split in self._splits() for tensor in (split.images, split.labels))

    def describe(self) -> str:
        """One line of provenance: name, sizes, fingerprint, note."""
        sizes = ", ".join(f"{len(split)} {name}" for name, split in self._splits())
        shape = "x".join(map(str, self.image_shape))
        line = f"{self.name}: {sizes} images {shape} in {self.classes} classes, fingerprint {self.fingerprint}"
        return f"{line} ({self.note})" if self.note else line

    def _splits(self) -> tuple[tuple[str, Split], ...]:
        return ("train", self.train), ("validation", self.validation), ("test", self.test)


def fingerprint(tensors: Iterable[Tensor]) -> str:
    """16 hex digits of the shapes, types and bytes of `tensors`."""
    digest = hashlib.blake2b(digest_size=8)
    for tensor in tensors:
        digest.update(_form(tensor).encode())
        digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def moments(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of uint8 [N, C, H, W], in [0, 1] units; a constant has std 1."""
    levels = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in images.cpu().unbind(1):
        share = torch.bincount(channel.flatten(), minlength=256).double() / channel.numel()
        mean = (share * levels).sum()
        means.append(float(mean))
        stds.append(float((share * (levels - mean) ** 2).sum().sqrt()) or 1.0)
    return tuple(means), tuple(stds)


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _size(split: Split) -> str:
    return "x".join(map(str, split.images.shape[1:]))
