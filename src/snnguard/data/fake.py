"""A made-up data set that a small network can learn: for tests and smoke runs."""

import torch
from torch import Tensor
from torch.nn import functional

from snnguard.rng import derive

from .dataset import Dataset, Split, moments


def fake(
    *,
    classes: int = 10,
    image_shape: tuple[int, int, int] = (3, 32, 32),
    train: int = 512,
    validation: int = 128,
    test: int = 128,
    seed: int = 0,
) -> Dataset:
    """Images = smooth prototype of the class + Gaussian noise (std 0.1), clipped; equal seeds give equal sets."""
    generator = torch.Generator().manual_seed(derive(seed, "fake"))
    channels, height, width = image_shape
    coarse = torch.rand(classes, channels, 4, 4, generator=generator)
    prototypes = functional.interpolate(coarse, size=(height, width), mode="bilinear")
    splits = [_draw(prototypes, n, generator) for n in (train, validation, test)]
    mean, std = moments(splits[0].images)
    return Dataset(
        name="fake",
        train=splits[0],
        validation=splits[1],
        test=splits[2],
        labels=tuple(map(str, range(classes))),
        mean=mean,
        std=std,
        note="made up",
    )


def _draw(prototypes: Tensor, n: int, generator: torch.Generator) -> Split:
    labels = torch.randperm(n, generator=generator) % len(prototypes)
    noise = 0.1 * torch.randn(n, *prototypes.shape[1:], generator=generator)
    return Split(((prototypes[labels] + noise).clamp(0, 1) * 255).round().to(torch.uint8), labels)
