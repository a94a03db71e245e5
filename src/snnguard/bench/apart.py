"""Each contestant in a process of its own: what is left of freed memory, and what was asked of the C library, is its own."""

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch

from .measure import peak_memory, wait

Make = Callable[[], Callable[[], object]]
"""Makes what is measured, with everything that it needs; has to survive the way to another process."""


_processes: dict[str, ProcessPoolExecutor] = {}


def process(name: str) -> ProcessPoolExecutor:
    """The process of a contestant; it stays for the cases that follow."""
    if name not in _processes:
        _processes[name] = fresh_process()
    return _processes[name]


def fresh_process() -> ProcessPoolExecutor:
    """A process that knows how many threads there are."""
    return ProcessPoolExecutor(
        1, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(torch.get_num_threads(),)
    )


_actions: list[Callable[[], object]] = []
"""In the process: what it measures."""


def prepare(make: Make) -> None:
    """In the process: makes what is measured."""
    _actions[:] = [make()]


def forget() -> None:
    """In the process: lets go of it."""
    _actions.clear()


def seconds() -> float:
    """In the process: how long it takes."""
    wait()
    began = time.perf_counter()
    _actions[0]()
    wait()
    return time.perf_counter() - began


def peak(device: str) -> int:
    """In the process: the most memory that it holds in its second repetition."""
    _actions[0]()
    return peak_memory(_actions[0], device=device)
