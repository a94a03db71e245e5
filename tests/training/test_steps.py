"""The numbers of the steps: read late they are the same, and a step waits for nothing on its device."""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from snnguard import recipes
from snnguard.training import Diverged, fit
from snnguard.training.steps import NORM, Unread

CPU = torch.device("cpu")
LOOP: Any = sys.modules[fit.__module__]


class Waits(TorchDispatchMode):
    """Counts the operations whose answer has to come from the device before the program can go on."""

    NAMES = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "is_nonzero")

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        # The optimiser's count of its steps, and seeds, lie in the host's memory anyhow.
        host = bool(args) and isinstance(args[0], torch.Tensor) and self.on_host(args[0])
        if name in self.NAMES and not host:
            self.found[name] += 1
        return func(*args, **(kwargs or {}))

    @staticmethod
    def on_host(x: torch.Tensor) -> bool:
        frames, frame = [], sys._getframe()
        while frame.f_back is not None:
            frames.append(Path(frame.f_code.co_filename).name)
            frame = frame.f_back
        return x.ndim == 0 and bool({"optimizer.py", "drawn.py"} & set(frames[:12]))


@pytest.mark.parametrize("name", ["undefended", "mpd-sgr", "tgo", "reg", "stog", "feel", "dlif", "at"])
def test_a_step_waits_for_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits, step = Waits(), LOOP.Loop.step

    def counted(loop: Any) -> None:
        if loop.progress.step != 1:
            return step(loop)
        with waits:
            return step(loop)

    monkeypatch.setattr(LOOP.Loop, "step", counted)
    settings = ["training.epochs=1", "data.train_size=96", "training.batch_size=32", "network.steps=2"]
    recipes.train(recipes.read(f"digits-{name}", settings), out=tmp_path)
    # Adversarial training checks what it is given, and what it gives: per batch, not per step of the attack.
    assert sum(waits.found.values()) <= (8 if name == "at" else 0), waits.found


def test_the_counter_counts() -> None:
    with Waits() as waits:
        assert bool(torch.ones(3).all())
        torch.ones(3).nonzero()
    assert waits.found == {"_local_scalar_dense": 1, "nonzero": 1}


def test_steps_read_together_are_the_steps_read_one_by_one() -> None:
    late, early = Unread(CPU), Unread(CPU)
    assert early.every == 1
    assert Unread(torch.device("cuda")).every > 1
    late.every = 3
    lines: list[Any] = []
    for step in range(3):
        values = {"loss": torch.tensor(0.5 + step), "penalty.a": torch.tensor(2.0 * step)}
        for unread in (late, early):
            unread.add(step, 0.1 * step, values)
        assert (late.due, early.due) == (step == 2, True)
        lines += early.read()
    assert late.read() == lines
    assert lines[1] == (1, {"loss": 1.5, "penalty.a": 2.0, "learning_rate": 0.1})
    assert late.read() == []


@pytest.mark.parametrize(
    ("which", "said"), [("loss", "the loss is not finite at step 1 "), (NORM, "the gradient is not finite at step 1;")]
)
def test_the_first_step_that_is_not_finite_is_named(which: str, said: str) -> None:
    unread = Unread(CPU)
    for step in range(3):
        unread.add(
            step, 0.1, {"loss": torch.tensor(1.0), NORM: torch.tensor(2.0)} | ({which: torch.tensor(torch.nan)} if step else {})
        )
    with pytest.raises(Diverged, match=said):
        unread.read()


def test_training_that_reads_late_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipes.read(
        "digits-mpd-sgr", ["training.epochs=2", "data.train_size=128", "training.batch_size=32", "network.steps=2"]
    )
    told: dict[str, list[Any]] = {"every": [], "late": []}
    for way, lines in told.items():
        if way == "late":
            monkeypatch.setattr(LOOP, "Unread", lambda device: Late(device))
        run = recipes.train(recipe, out=tmp_path / way, report=lambda *line, lines=lines: lines.append(line))
        lines.append([{k: v for k, v in epoch.items() if k != "seconds"} for epoch in run.epochs()])
    assert told["every"] == told["late"]
    assert len(told["late"]) == 9


class Late(Unread):
    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.every = 3
