"""A grid over the machines of a Ray cluster: one network is one task. Ray is an extra: pip install 'snnguard[cluster]'."""

import os
import socket
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from snnguard.errors import RequestError
from snnguard.recipes import pool

from .grid import Runner

RETRIES = 3
"""How often a task is run again whose machine or process was lost; it goes on from the last saved state."""


def cluster(address: str, out: Path) -> Runner:
    """A runner for `train_and_judge` on the cluster at `address` ("local" starts one on this machine).

    `out` must lie on a folder that every machine sees under the same path. A task takes one core, and one GPU where the
    cluster has any. Raises `RequestError` if Ray is not installed or the cluster does not answer.
    """
    ray = _ray()

    def run(
        do: Callable[..., None], work: Mapping[str, tuple[Any, ...]], *, jobs: int = 1, report: pool.Report | None = None
    ) -> dict[str, str]:  # fmt: skip
        _connect(ray, address, jobs)
        marker = _marked(out)
        gpus = 1 if ray.cluster_resources().get("GPU") else 0
        task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES)(_attempt)
        waiting = {task.options(name=name).remote(do, arguments, str(marker)): name for name, arguments in work.items()}
        try:
            return _collected(ray, waiting, report)
        except KeyboardInterrupt:
            for reference in waiting:
                ray.cancel(reference)  # raises KeyboardInterrupt in the task, which saves where it is
            raise
        finally:
            marker.unlink(missing_ok=True)

    return run


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise RequestError("a grid over machines needs Ray; install it with: pip install 'snnguard[cluster]'") from None
    return ray


def _connect(ray: Any, address: str, jobs: int) -> None:
    if ray.is_initialized():
        return
    quiet = {"logging_level": "error", "log_to_driver": False, "include_dashboard": False}
    try:
        if address == "local":
            ray.init(address="local", num_cpus=jobs, **quiet)
        else:
            _reachable(address)
            del quiet["include_dashboard"]  # belongs to whoever starts the cluster
            ray.init(address=address, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        raise RequestError(f"no Ray cluster answers at {address!r} ({error}); start one with: ray start --head") from None


def _reachable(address: str) -> None:
    """Raises `OSError` at once; Ray itself would try for minutes and then end the process."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=5).close()


def _marked(out: Path) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=out.resolve(), prefix=".grid-")
    os.close(descriptor)
    return Path(name)


def _attempt(do: Callable[..., None], arguments: tuple[Any, ...], marker: str) -> str:
    """In a worker: what went wrong, or nothing."""
    if not Path(marker).exists():
        return f"this machine does not see {Path(marker).parent}; a grid over machines needs a folder that all of them share"
    return pool.attempt(do, arguments)


def _collected(ray: Any, waiting: dict[Any, str], report: pool.Report | None) -> dict[str, str]:
    failed: dict[str, str] = {}
    total = len(waiting)
    left = list(waiting)
    while left:
        [reference], left = ray.wait(left, num_returns=1)
        name = waiting[reference]
        try:
            error = ray.get(reference)
        except ray.exceptions.RayError as lost:
            error = f"its machine or process was lost {RETRIES + 1} times: {type(lost).__name__}"
        if error:
            failed[name] = error
        if report is not None:
            report(name, error or "done", total - len(left), total)
    return failed
