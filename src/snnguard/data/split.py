"""Splits and orders that depend on the pixels alone: on no seed, no file order, and equal images stay together."""

import hashlib

import torch
from torch import Tensor

from snnguard.errors import DataError, InvalidInput


def holdout(images: Tensor, *, share: float = 0.1, purpose: str = "validation") -> Tensor:
    """Bool [N], True for about `share` in [0, 1) of uint8 images [N, C, H, W]; other purposes draw independently.

    At least one image is held out unless `share` is 0. Raises `DataError` when nothing would remain.
    """
    if not 0 <= share < 1:
        raise InvalidInput(f"the share that is held out must be in [0, 1); found {share}")
    hashes = _hashes(images, purpose)
    if share == 0 or not hashes:
        return torch.zeros(len(hashes), dtype=torch.bool)
    limit = max(int(share * 2**64), min(hashes) + 1)
    mask = torch.tensor([value < limit for value in hashes])
    if mask.all():
        raise DataError(
            f"cannot split {len(hashes)} images in two: too few of them differ ({len(set(hashes))}); give more images"
        )
    return mask


def hash_order(images: Tensor) -> Tensor:
    """The permutation int64 [N] that sorts uint8 images [N, C, H, W] by hash, so that the first n are a fair sample."""
    hashes = _hashes(images, "order")
    return torch.tensor(sorted(range(len(hashes)), key=hashes.__getitem__), dtype=torch.int64)


def _hashes(images: Tensor, purpose: str) -> list[int]:
    """One number in [0, 2^64) per image; changing this function changes every split."""
    person = purpose.encode()
    pixels = images.cpu().contiguous().numpy()
    return [
        int.from_bytes(hashlib.blake2b(image.data, digest_size=8, salt=b"fixed", person=person).digest(), "big")
        for image in pixels
    ]
