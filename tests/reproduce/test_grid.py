"""Grids that are killed, run twice at once, or run over the nodes of a Ray cluster: always the same table."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from snnguard import reproduce
from snnguard.reproduce import SCALES, Chosen, Request, grid
from snnguard.reproduce.cluster import cluster

SIZES = ("data.train_size=128", "data.validation_size=32", "data.test_size=32")
SMALL = ("training.epochs=10", "training.checkpoint_seconds=0.01", *SIZES)
ONLY = {"method": ("none", "mc"), "training": ("vanilla",)}
KILLS = 3
"""In `benchmarks/kill_grid.py` ten."""


@pytest.fixture(scope="module")
def chosen() -> Chosen:
    request = Request(scale=SCALES["tiny"], only=ONLY, seeds=(0, 1), images=16, spike=False, settings=SMALL)
    return reproduce.choose(reproduce.get("tgo/table-ablation"), request)


@pytest.fixture(scope="module")
def undisturbed(chosen: Chosen, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("undisturbed")
    assert not grid.train_and_judge(reproduce.jobs([chosen]), out)
    return reproduce.markdown(reproduce.outcome(chosen, out).comparison)


def start(out: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", "from snnguard.cli.main import main; main()", "reproduce", "tgo/table-ablation", *SMALL]
    command += ["--methods", "none,mc", "--training", "vanilla", "--seeds", "2", "--images", "16", "--no-spike"]
    command += ["--out", str(out), "--jobs", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)


def written(out: Path) -> set[tuple[str, int]]:
    """What lies in the networks and records, and since when."""
    files = [path for folder in ("networks", "records") for path in (out / folder).rglob("*")]
    return {(str(path), path.stat().st_mtime_ns) for path in files if path.is_file()}


def test_a_killed_grid_goes_on_to_the_same_table(chosen: Chosen, undisturbed: str, tmp_path: Path) -> None:
    dice = random.Random(0)
    killed = 0
    for _ in range(KILLS):
        process = start(tmp_path)
        before = written(tmp_path)
        while written(tmp_path) == before and process.poll() is None:  # until it is at work
            time.sleep(0.05)
        time.sleep(dice.uniform(0, 0.5))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            killed += 1
        process.communicate()
    assert killed
    process = start(tmp_path)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said.decode()
    assert reproduce.markdown(reproduce.outcome(chosen, tmp_path).comparison) == undisturbed


def test_two_processes_share_a_grid(chosen: Chosen, undisturbed: str, tmp_path: Path) -> None:
    both = [start(tmp_path), start(tmp_path)]
    for process in both:
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said.decode()
    assert reproduce.markdown(reproduce.outcome(chosen, tmp_path).comparison) == undisturbed


def test_two_nodes_of_a_ray_cluster_and_the_loss_of_one(chosen: Chosen, undisturbed: str, tmp_path: Path) -> None:
    """Bit for bit the table of one process, though one of the two nodes dies while it works."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 300, "health_check_failure_threshold": 3}
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": quick}
    nodes = Cluster(initialize_head=True, head_node_args=head)
    second = nodes.add_node(num_cpus=1)
    done: list[str] = []

    def first_is_done(name: str, what: str, count: int, total: int) -> None:
        done.append(what)
        if count == 1:
            nodes.remove_node(second, allow_graceful=False)

    try:
        runner = cluster(nodes.address, tmp_path)
        failed = grid.train_and_judge(reproduce.jobs([chosen]), tmp_path, report=first_is_done, runner=runner)
    finally:
        ray.shutdown()
        nodes.shutdown()
    assert not failed
    assert done == ["done"] * 4
    assert reproduce.markdown(reproduce.outcome(chosen, tmp_path).comparison) == undisturbed
