"""Measuring on a machine that is never quiet: contestants take turns, and what counts is the ratio within a round."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from snnguard.errors import RequestError


def alternate(actions: Mapping[str, Callable[[], object]], *, rounds: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Seconds of each action in each round; the rounds before, `warm_up` of them, are not kept."""
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(warm_up + rounds):
        for name, action in actions.items():
            wait()
            began = time.perf_counter()
            action()
            wait()
            if number >= warm_up:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def wait() -> None:
    """Until the device has done what it was asked to."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    if torch.backends.mps.is_available():
        torch.mps.synchronize()


def ratio(seconds: list[float], to: list[float]) -> float:
    """The median over the rounds of one action's time in units of another's."""
    return statistics.median(a / b for a, b in zip(seconds, to, strict=True))


def peak_memory(action: Callable[[], object], *, device: str = "cpu") -> int:
    """Bytes that the process, or its GPU, held at most while `action` ran. Raises `RequestError` where no system tells."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        action()
        return int(torch.cuda.max_memory_allocated())
    if device != "cpu" or not sys.platform.startswith("linux"):
        raise RequestError(f"peak memory is measured on CUDA, and of a CPU on Linux; found {device} on {sys.platform}")
    Path("/proc/self/clear_refs").write_text("5")
    action()
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RequestError("peak memory is not told by this system: /proc/self/status has no VmHWM")
