"""Many trainings and judgements side by side, each in a process of its own share of the cores."""

import os
import signal
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import Any

import torch

from snnguard.errors import SNNGuardError

Report = Callable[[str, str, int, int], None]
"""Called with the name of a piece of work, what became of it, and how many of how many are done."""


def run(
    do: Callable[..., None], work: Mapping[str, tuple[Any, ...]], *, jobs: int = 1, report: Report | None = None
) -> dict[str, str]:  # fmt: skip
    """Calls `do(*arguments)` for each named piece of work, `jobs` at a time; what went wrong, by name.

    A piece that fails, or whose process dies, does not keep the others from their end: what a death takes along is done again.
    After Ctrl-C every running piece saves where it is, no other begins, and KeyboardInterrupt is raised. A parent that is
    killed takes its workers with it.
    """
    counted = _Counted(len(work), report)
    failed, lost = _round(do, work, jobs, counted)
    if lost:
        again, lost = _round(do, {name: work[name] for name in lost}, jobs, counted)
        failed |= again
    for name in lost:  # whose process dies takes the others' with it, so each has one of its own now
        again, dead = _round(do, {name: work[name]}, 1, counted)
        failed |= again | dict.fromkeys(dead, "its process died, perhaps for want of memory; try fewer --jobs")
        for _ in dead:
            counted(name, failed[name])
    return failed


class _Counted:
    """Reports what is done, and counts it over the rounds."""

    def __init__(self, total: int, report: Report | None) -> None:
        self.done, self.total, self.report = 0, total, report

    def __call__(self, name: str, error: str) -> None:
        self.done += 1
        if self.report is not None:
            self.report(name, error or "done", self.done, self.total)


def _round(
    do: Callable[..., None], work: Mapping[str, tuple[Any, ...]], jobs: int, done: _Counted
) -> tuple[dict[str, str], list[str]]:  # fmt: skip
    """What went wrong by name, and the names of what was lost because a process died."""
    failed: dict[str, str] = {}
    lost: list[str] = []
    context = get_context("spawn")
    stop = context.Event()
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_worker, initargs=(jobs, stop)) as pool:
        waiting = {pool.submit(_in_worker, do, arguments): name for name, arguments in work.items()}
        try:
            for future in as_completed(waiting):
                name = waiting[future]
                try:
                    error = future.result()
                except BrokenProcessPool:
                    lost.append(name)
                    continue
                if error:
                    failed[name] = error
                done(name, error)
        except KeyboardInterrupt:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    if stop.is_set():
        raise KeyboardInterrupt
    return failed, lost


def attempt(do: Callable[..., None], arguments: tuple[Any, ...]) -> str:
    """Calls `do(*arguments)`; the message of what went wrong, or nothing."""
    try:
        do(*arguments)
    except SNNGuardError as error:
        return str(error)
    except Exception as error:  # whatever it is, it is this piece's, and the others go on
        return f"{type(error).__name__}: {error}"
    return ""


_stop: Any = None
"""In a worker: the event that is set once all are to stop."""


def _worker(jobs: int, stop: Any) -> None:
    global _stop
    _stop = stop
    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))
    signal.signal(signal.SIGINT, _interrupted)
    threading.Thread(target=_outlive_no_parent, daemon=True).start()


def _outlive_no_parent() -> None:
    """Killed, a parent takes its workers with it; their folders go on from the last saved state."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _interrupted(*_: object) -> None:
    if not _stop.is_set():  # a second signal must not fall into the saving that the first one began
        _stop.set()
        raise KeyboardInterrupt


def _in_worker(do: Callable[..., None], arguments: tuple[Any, ...]) -> str:
    if _stop.is_set():
        return "not begun"
    try:
        return attempt(do, arguments)
    except KeyboardInterrupt:
        _stop.set()
        return "stopped"
