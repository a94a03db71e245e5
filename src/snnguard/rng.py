"""Randomness by name: seeds derived from a path, scopes that leave the caller's generators untouched."""

import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def derive(seed: int, *path: str | int) -> int:
    """A 63-bit seed for one purpose, e.g. `derive(0, "epoch", 3)`; other paths give independent streams."""
    text = "/".join([str(seed), *(f"{type(part).__name__}:{part}" for part in path)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


@contextmanager
def scope(seed: int) -> Iterator[None]:
    """Seeds Python's and PyTorch's global generators inside the block and restores them on any exit."""
    devices = list(range(torch.cuda.device_count()))
    state = random.getstate()
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(state)


def per_sample(x: Tensor, seed: int) -> list[torch.Generator]:
    """One CPU generator per image, seeded by `seed` and the image itself.

    So the noise that an image receives depends neither on its place in the batch nor on the size of the batch.
    """
    generators = []
    for image in x.detach().cpu().contiguous():
        # As bytes, since NumPy has no bfloat16.
        digest = hashlib.blake2b(image.flatten().view(torch.uint8).numpy().tobytes(), digest_size=8).hexdigest()
        generators.append(torch.Generator().manual_seed(derive(seed, digest)))
    return generators


def normal(x: Tensor, seed: int) -> Tensor:
    """Standard normal noise like `x` [N, *F], drawn per image (see `per_sample`)."""
    return _draw(torch.randn, x, seed)


def uniform(x: Tensor, seed: int) -> Tensor:
    """Noise like `x` [N, *F], uniform in [0, 1), drawn per image (see `per_sample`)."""
    return _draw(torch.rand, x, seed)


def _draw(sampler: Callable[..., Tensor], x: Tensor, seed: int) -> Tensor:
    drawn = [sampler(x.shape[1:], generator=g, dtype=torch.float32) for g in per_sample(x, seed)]
    return torch.stack(drawn).to(x) if drawn else torch.zeros_like(x)
