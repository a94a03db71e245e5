"""Work on a batch in as few pieces as memory allows.

Samples do not know each other, so the pieces change no number, except of a random model, which draws in another order.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import torch

from snnguard.errors import OutOfMemory, out_of_memory

T = TypeVar("T")

_limit: ContextVar[int | None] = ContextVar("limit", default=None)


@contextmanager
def at_most(images: int | None) -> Iterator[None]:
    """No piece that is begun in the block is larger (None: whatever held before)."""
    before = _limit.set(smaller(images))
    try:
        yield
    finally:
        _limit.reset(before)


def smaller(most: int | None) -> int | None:
    """`most` (None: any number), or what `at_most` allows where that is less."""
    limits = [limit for limit in (most, _limit.get()) if limit is not None]
    return min(limits) if limits else None


class Pieces:
    """Remembers the largest piece that is known to fit, at first `most` or what `at_most` allows."""

    def __init__(self, most: int | None = None) -> None:
        self.most = smaller(most)

    def __call__(self, count: int, work: Callable[[slice], T]) -> list[T]:
        """`work` on consecutive slices of `count` samples, of none on one empty slice.

        `work` leaves nothing behind where it fails. Raises `OutOfMemory` if not even one sample fits.
        """
        if count == 0:
            return [work(slice(0, 0))]
        done: list[T] = []
        first = 0
        while first < count:
            size = min(self.most or count, count - first)
            try:
                done.append(work(slice(first, first + size)))
            except (RuntimeError, MemoryError, OutOfMemory) as error:
                if not out_of_memory(error):
                    raise
                if size == 1:
                    raise OutOfMemory(f"not even one image fits into the memory of the device ({error})") from error
                self.most = (size + 1) // 2
            else:
                first += size
                continue
            # Outside the handler, where nothing holds on to what had been made.
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return done
