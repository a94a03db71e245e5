"""Each contestant in a process of its own: what is left of freed memory, and what was asked of the C library, is its own."""

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

import torch

from snnguard.errors import RequestError

from .measure import peak_memory, wait

Make = Callable[[], Callable[[], object]]
"""Makes what is measured, with everything that it needs; has to survive the way to another process."""

_processes: dict[str, ProcessPoolExecutor] = {}


def begin(name: str, work: Callable[..., Any], *given: object) -> "Future[Any]":
    """Has the process called `name` do something; it is made if need be, and stays until `leave`."""
    if name not in _processes:
        _processes[name] = ProcessPoolExecutor(
            1, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(torch.get_num_threads(),)
        )
    try:
        return _processes[name].submit(work, *given)
    except BrokenProcessPool as error:
        raise _ended(name) from error


def end(name: str, begun: "Future[Any]") -> Any:
    """What came of it. Raises `RequestError` if the process did not survive it."""
    try:
        return begun.result()
    except BrokenProcessPool as error:
        raise _ended(name) from error


def _ended(name: str) -> RequestError:
    _processes.pop(name, None)
    said = f"the process that measured {name} has ended, likely for want of memory; take a smaller batch or fewer steps"
    return RequestError(f"{said} (a script that calls this needs `if __name__ == '__main__':`)")


def ask(name: str, work: Callable[..., Any], *given: object) -> Any:
    """Has the process do something and waits for it."""
    return end(name, begin(name, work, *given))


def forgotten(name: str) -> None:
    """Has the process let go of what it measures, if it is still there."""
    if name in _processes:
        with contextlib.suppress(RequestError):
            ask(name, forget)


def leave(name: str) -> None:
    """Ends the process."""
    if name in _processes:
        _processes.pop(name).shutdown()


_actions: list[Callable[[], object]] = []
"""In the process: what it measures."""


def prepare(make: Make) -> None:
    """In the process: makes what is measured."""
    _actions[:] = [make()]


def forget() -> None:
    """In the process: lets go of it."""
    _actions.clear()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


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
