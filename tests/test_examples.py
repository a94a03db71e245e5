"""The examples run as they are, each in a folder of its own, and say what they are there to say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted(ROOT.glob("examples/*.py"))


def said(name: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", ROOT / "examples" / name], cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_fit_a_screen(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 60


def test_train_and_judge(tmp_path: Path) -> None:
    text = said("train_and_judge.py", tmp_path)
    shares = {name: float(share) for name, share in re.findall(r"^  (\S.*?) +([\d.]+) %", text, re.MULTILINE)}
    assert shares["worst case"] <= min(shares["pgd-40/bptt"], shares["pgd-40/rate"]) <= shares["clean"]
    assert shares["clean"] > 60
    assert (tmp_path / "runs/example/evaluation.json").exists()


def test_judge_your_own(tmp_path: Path) -> None:
    """The suite that is fooled, the same one with repairs, and the card that names both faults."""
    text = said("judge_your_own.py", tmp_path)
    worst = {name: float(share) for name, share in re.findall(r"^(.+): .* clean, ([\d.]+) % in the worst", text, re.MULTILINE)}
    assert worst["quick"] > 80 > 50 > worst["quick, repaired"]
    raised = set(re.findall(r"^SUSPICIOUS +(\S+)", text, re.MULTILINE))
    assert {"state-leaks", "blind-in-eval", "zero-gradient"} <= raised


def test_new_defense(tmp_path: Path) -> None:
    text = said("new_defense.py", tmp_path)
    one, other = map(int, re.findall(r"(\d+) stand undefended alone, (\d+) defended alone", text)[0])
    before, after = map(float, re.findall(r"undefended ([\d.]+) %, quiet logits ([\d.]+) %", text)[0])
    assert after - before == pytest.approx((other - one) / 200 * 100, abs=0.11)
