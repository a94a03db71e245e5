"""Pages: the same ones again while there is work, all given back afterwards, and hands off where somebody else has decided."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from snnguard import pages

only_glibc = pytest.mark.skipif(pages.glibc() is None, reason="another C library, or one that was told what to do")

PROCESS = """
import resource
import torch
from snnguard import pages

def faults():  # of eight blocks of 64 MiB that are taken, written and freed one after another
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        torch.ones(16 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def held():  # MiB
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() >> 20

start = held()
with pages.kept():
    faults()
    found = [faults()]
    try:
        with pages.kept():
            raise KeyError
    except KeyError:
        pass
    found += [faults(), held() - start]
print(*found, held() - start, faults())
"""
"""In a process of its own: what others have left of freed memory would be in the way."""


@only_glibc
def test_within_the_block_pages_are_found_again_and_afterwards_they_are_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", PROCESS], capture_output=True, text=True, check=True)
    again, after_an_inner_block, within, afterwards, without = map(int, done.stdout.split())
    assert again < 64  # of 8 times 16,384 pages, or 32 large ones
    assert after_an_inner_block < 64  # which has given nothing back
    assert within > 32
    assert afterwards < 32
    assert without >= 8 * 32


class Recorded:
    """A C library that writes down what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def mallopt(self, name: int, value: int) -> int:
        self.asked.append((name, value))
        return 1

    def malloc_trim(self, _: object) -> int:
        self.asked.append((0, 0))
        return 1


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    library = Recorded()
    monkeypatch.setattr(pages, "glibc", lambda: library)
    return library


def test_only_the_outermost_block_asks(recorded: Recorded) -> None:
    with pages.kept(), pages.kept():
        assert recorded.asked == list(pages.WITHIN.items())
    assert recorded.asked[len(pages.WITHIN) :] == [*pages.AFTERWARDS.items(), (0, 0)]


@pytest.fixture
def afresh() -> Iterator[None]:
    pages.glibc.cache_clear()
    yield
    pages.glibc.cache_clear()


@pytest.mark.usefixtures("afresh")
@pytest.mark.parametrize(
    ("name", "value"),
    [("MALLOC_TRIM_THRESHOLD_", "131072"), ("MALLOC_ARENA_MAX", "2"), ("GLIBC_TUNABLES", "glibc.malloc.mmap_max=7")],
)
def test_what_the_environment_says_is_left_alone(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert pages.glibc() is None
    with pages.kept():
        pass


@pytest.mark.usefixtures("afresh")
def test_other_systems_have_no_such_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert pages.glibc() is None
