"""Freed memory that stays with the process while there is work, so that every step finds the pages of the one before.

Left to itself the C library gives large blocks back to the system as soon as they are freed, and takes them anew one page after
another, each of which the system clears first, in every step. Only glibc, on Linux, has this and can be asked not to.
"""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # parameters of mallopt(3)
WITHIN = {TRIM_THRESHOLD: -1, MMAP_MAX: 0}
AFTERWARDS = {TRIM_THRESHOLD: 64 << 20, MMAP_THRESHOLD: 32 << 20, MMAP_MAX: 1 << 16}
"""Its defaults, where they end up by themselves once a block of 32 MiB has been freed."""

_lock, _inside = Lock(), 0


@contextmanager
def kept() -> Iterator[None]:
    """Within the block freed memory stays with the process; at the end of the outermost one it goes back to the system.

    Does nothing where the C library is another one, or where the environment says how it is to behave (`MALLOC_...`,
    `GLIBC_TUNABLES`).
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _inside  # as the C library has one state for the whole process
    with _lock:
        _inside += 1
        if _inside == 1 and (library := glibc()):
            _set(library, WITHIN)


def _leave() -> None:
    global _inside
    with _lock:
        _inside -= 1
        if _inside == 0 and (library := glibc()):
            _set(library, AFTERWARDS)
            library.malloc_trim(ctypes.c_size_t(0))


def _set(library: ctypes.CDLL, values: dict[int, int]) -> None:
    for name, value in values.items():
        library.mallopt(name, value)


@cache
def glibc() -> ctypes.CDLL | None:
    """The C library, if it is glibc and nobody has told it what to do."""
    told = any(name.startswith("MALLOC_") for name in os.environ) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if sys.platform != "linux" or told:
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
