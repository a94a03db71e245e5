"""Many networks, over several processes of this machine or over the machines of a Ray cluster."""

from collections.abc import Callable, Sequence
from pathlib import Path

from snnguard.recipes import pool

from .job import Busy, Job, run

Runner = Callable[..., dict[str, str]]
"""`pool.run`, or `cluster.run` with the same arguments."""


def train_and_judge(
    jobs: Sequence[Job], out: Path, *, processes: int = 1, report: pool.Report | None = None, runner: Runner = pool.run
) -> dict[str, str]:  # fmt: skip
    """Does every job; what went wrong, by the names of the networks. What is there already is left as it is.

    Networks that another process has in hand come last: by then they are mostly done. After Ctrl-C every running one saves
    where it is and KeyboardInterrupt is raised; the same call goes on.
    """
    open_ones = {job.name: (job, out, False) for job in jobs if not job.done(out)}
    failed = runner(run, open_ones, jobs=processes, report=report)
    busy = {name: (job, out, True) for name, (job, _, _) in open_ones.items() if failed.get(name, "").startswith(Busy.said)}
    again = runner(run, busy, jobs=processes, report=report) if busy else {}
    return {name: error for name, error in failed.items() if name not in busy} | again
