"""A grid that is killed at ten random moments and begun again, beside one that nobody disturbs: the tables must be equal.

Run: python benchmarks/kill_grid.py
Writes benchmarks/kill_grid.json. Exits with 1 if the tables differ.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from snnguard.evaluation.provenance import hardware

KILLS, SEED = 10, 0
SIZES = ["data.train_size=512", "data.validation_size=32", "data.test_size=32"]
SETTINGS = ["training.epochs=12", "training.checkpoint_seconds=0.01", *SIZES]
GRID = ["tgo/table-ablation", *SETTINGS, "--training", "vanilla", "--seeds", "2", "--images", "16", "--no-spike", "--jobs", "2"]
TABLE = "outcomes/tgo-table-ablation-tiny/table.md"


def begin(out: Path) -> "subprocess.Popen[bytes]":
    """The command in a process group of its own."""
    command = [sys.executable, "-c", "from snnguard.cli.main import main; main()", "reproduce", *GRID, "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, start_new_session=True)


def main() -> None:
    """Both grids, and what became of them."""
    with tempfile.TemporaryDirectory() as folder:
        calm, disturbed = Path(folder) / "calm", Path(folder) / "disturbed"
        began = time.monotonic()
        assert begin(calm).wait() == 0
        whole = time.monotonic() - began
        dice, moments, unfinished = random.Random(SEED), [], 0
        for _ in range(KILLS):
            process = begin(disturbed)
            moments.append(round(dice.uniform(0.12, 0.25) * whole, 2))
            time.sleep(moments[-1])
            if process.poll() is None:
                unfinished += 1
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert begin(disturbed).wait() == 0
        equal = (calm / TABLE).read_bytes() == (disturbed / TABLE).read_bytes()
    kept = {
        "kills": KILLS,
        "killed_before_the_end": unfinished,
        "seconds_undisturbed": round(whole, 1),
        "killed_after": moments,
        "equal": equal,
        "hardware": hardware(),
    }
    (Path(__file__).parent / "kill_grid.json").write_text(json.dumps(kept, indent=1) + "\n")
    print(json.dumps(kept))
    sys.exit(not equal)


if __name__ == "__main__":
    main()
