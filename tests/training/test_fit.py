"""The loop: the same bits whether or not it was stopped, what it logs, what it refuses."""

import errno
import inspect
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from snnguard.analysis import histogram, membranes
from snnguard.data import Augmentation, Dataset
from snnguard.defenses import REG, Stack
from snnguard.defenses.defense import Batch, Defense, Step
from snnguard.errors import CheckpointError, RequestError, RunFolderError
from snnguard.neurons import neurons_of
from snnguard.record import LOGGED_EDGES
from snnguard.training import SGD, AdamW, Diverged, Stopped, fit, read_tensors
from snnguard.training.checkpoint import previous

FELL_BACK = "Going on from the one before it"
STEPS = 12  # 3 epochs of 4


class Crash(Exception):
    """A fault that no one handles."""


def crash_at(step: int) -> Callable[[int, int, Any], None]:
    def report(done: int, steps: int, line: Any) -> None:
        if done == step:
            raise Crash

    return report


class TestSameBits:
    def test_the_randomness_matters(self, trained: Any, same: Any) -> None:
        assert same(trained().weights, trained().weights)
        assert not same(trained().weights, trained(seed=1).weights)

    def test_how_often_it_saves_does_not(self, trained: Any, same: Any, lines: Any, tmp_path: Path) -> None:
        never = trained()
        for name, seconds in (("a", 1e-9), ("b", 0.05), ("c", 1e9)):
            saved = trained(tmp_path / name, checkpoint_seconds=seconds)
            assert same(never.weights, saved.weights)
            assert lines(tmp_path / name / "metrics.jsonl") == lines(never.outcome.lines)

    def test_the_callers_generators_do_not_and_are_left_alone(self, trained: Any, same: Any) -> None:
        torch.manual_seed(1)
        one = trained(epochs=1)
        before = torch.random.get_rng_state()
        other = trained(epochs=1)
        assert torch.equal(before, torch.random.get_rng_state())
        assert same(one.weights, other.weights)

    @pytest.mark.parametrize("crashes", [(1,), (4,), (6, 9), (2, 3, 4, 11, 12), tuple(range(1, 13))])
    def test_crashes_between_steps(
        self, crashes: tuple[int, ...], optimiser: Any, trained: Any, same: Any, lines: Any, tmp_path: Path
    ) -> None:
        whole = trained(optimiser=optimiser, clip_norm=1.0, warmup_epochs=0.5)
        more = {"optimiser": optimiser, "clip_norm": 1.0, "warmup_epochs": 0.5, "checkpoint_seconds": 1e-9}
        for step in crashes:
            with pytest.raises(Crash):
                trained(tmp_path, report=crash_at(step), **more)
        found = trained(tmp_path, **more)
        assert found.outcome.finished
        assert same(whole.weights, found.weights)
        assert lines(tmp_path / "metrics.jsonl") == lines(whole.outcome.lines) == lines(found.outcome.lines)

    def test_a_crash_far_from_the_last_save(self, trained: Any, same: Any, tmp_path: Path) -> None:
        """Only epochs are saved: the steps since are made again."""
        with pytest.raises(Crash):
            trained(tmp_path, report=crash_at(7))
        assert read_tensors(tmp_path / "state.safetensors")[1]["step"] == 4
        assert same(trained().weights, trained(tmp_path).weights)

    def test_a_damaged_newest_state(self, trained: Any, same: Any, lines: Any, tmp_path: Path) -> None:
        whole = trained()
        with pytest.raises(Crash):
            trained(tmp_path, report=crash_at(7), checkpoint_seconds=1e-9)
        state = tmp_path / "state.safetensors"
        content = bytearray(state.read_bytes())
        content[len(content) // 2] ^= 1
        state.write_bytes(content)
        with pytest.warns(UserWarning, match=FELL_BACK):
            found = trained(tmp_path, checkpoint_seconds=1e-9)
        assert same(whole.weights, found.weights)
        assert lines(tmp_path / "metrics.jsonl") == lines(whole.outcome.lines)

    def test_a_damaged_newest_state_twice_in_a_row(self, trained: Any, same: Any, tmp_path: Path) -> None:
        """The damaged file must not become the predecessor of the next save."""
        for step in (6, 9):
            with pytest.warns(UserWarning, match=FELL_BACK) if step == 9 else nullcontext(), pytest.raises(Crash):
                trained(tmp_path, report=crash_at(step), checkpoint_seconds=1e-9)
            (tmp_path / "state.safetensors").write_bytes(b"half")
        assert read_tensors(previous(tmp_path / "state.safetensors"))[1]["step"] > 4
        with pytest.warns(UserWarning, match=FELL_BACK):
            assert same(trained().weights, trained(tmp_path).weights)

    def test_metrics_that_are_ahead_of_the_state_are_made_again(self, trained: Any, lines: Any, tmp_path: Path) -> None:
        with pytest.raises(Crash):
            trained(tmp_path, report=crash_at(9))
        (tmp_path / "metrics.jsonl").write_text('{"epoch": 1}\n{"epoch": 2}\n{"epoch": 3}\n{"ep')
        trained(tmp_path)
        assert lines(tmp_path / "metrics.jsonl") == lines(trained().outcome.lines)

    def test_a_finished_training_is_not_trained_again(self, trained: Any, same: Any, tmp_path: Path) -> None:
        first = trained(tmp_path)
        steps: list[int] = []
        again = trained(tmp_path, report=lambda done, *_: steps.append(done))
        assert steps == []
        assert again.outcome.finished
        assert same(first.weights, again.weights)
        assert again.outcome.lines == first.outcome.lines

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_ctrl_c_stops_after_the_step_and_saves_it(
        self, number: signal.Signals, trained: Any, same: Any, tmp_path: Path
    ) -> None:
        for step in (2, 4, 7):
            with pytest.raises(Stopped, match=f"stopped after step {step}; the same call goes on") as stopped:
                trained(tmp_path, report=lambda done, *_, at=step: os.kill(os.getpid(), number) if done == at else None)
            assert not stopped.value.outcome.finished
            assert isinstance(stopped.value, KeyboardInterrupt)  # so that a loop over trainings stops too
            assert stopped.value.outcome.steps == read_tensors(tmp_path / "state.safetensors")[1]["step"] == step
        found = trained(tmp_path)
        assert found.outcome.finished
        assert same(trained().weights, found.weights)

    def test_the_state_of_another_training_is_refused(self, trained: Any, tmp_path: Path) -> None:
        trained(tmp_path, epochs=1)
        before = (tmp_path / "state.safetensors").read_bytes()
        for change in ({"defense": Stack()}, {"seed": 1}, {"batch_size": 4}):
            with pytest.raises(RunFolderError, match="another defense, data set, seed or settings"):
                trained(tmp_path, **({"epochs": 1} | change))
        assert (tmp_path / "state.safetensors").read_bytes() == before

    def test_a_trained_model_is_ready_to_judge(self, trained: Any) -> None:
        assert not any(module.training for module in trained(epochs=1).model.modules())

    def test_a_state_of_another_network_is_refused(
        self, trained: Any, data: Dataset, network: Any, settings: Any, tmp_path: Path
    ) -> None:
        trained(tmp_path, epochs=1, defense=Stack())
        other = network(name="vgg5-slim")
        before = {k: v.clone() for k, v in other.state_dict().items()}
        with pytest.raises(CheckpointError, match="belongs to another network"):
            fit(
                other, data.train, data.validation, defense=Stack(), training=settings(epochs=1), out=tmp_path,
                augmentation=Augmentation(crop=1, flip=True, cutout=2),
            )  # fmt: skip
        assert all(torch.equal(v, before[k]) for k, v in other.state_dict().items())


DRIVER = """
import json, os, random, signal, sys, time
import lightning_fabric, sklearn.datasets, torch
from pathlib import Path
from snnguard.choice import discover
from snnguard.cli.main import main
torch.set_num_threads(1)
discover("snnguard.cli")
recipe, root, draw = sys.argv[1], Path(sys.argv[2]), random.Random(int(sys.argv[3]))

def train(folder, number=None, wait=0.0):
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            sys.argv = ["snnguard", "train", recipe, "--out", str(folder)]
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    if number:
        state = folder / "state.safetensors"
        before = state.stat().st_mtime_ns if state.exists() else 0
        while not wait and not (state.exists() and state.stat().st_mtime_ns != before):
            time.sleep(0.001)
        time.sleep(wait)
        os.kill(child, number)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), time.monotonic() - began

status, seconds = train(root / "whole")
assert status == 0, status
ends = []
while ends.count(-9) < 6 and 0 not in ends:
    ends.append(train(root / "killed", signal.SIGKILL, draw.uniform(0.02, 0.45) * seconds)[0])
ends.append(train(root / "killed")[0])
stopped = train(root / "stopped", signal.SIGINT)[0]
left = sorted(p.name for p in (root / "stopped").iterdir())
print(json.dumps({"seconds": seconds, "ends": ends, "stopped": stopped, "left": left, "last": train(root / "stopped")[0]}))
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    """AT, MPD-SGR and TGO's noise on 64 digits with augmentation, saved after every step."""
    path = tmp_path / "noisy.toml"
    path.write_text(
        textwrap.dedent(
            """
            name = "noisy"
            data = {name = "digits", train_size = 64, validation_size = 32, test_size = 8}
            augmentation = {crop = 1, flip = true, cutout = 2}
            network = {name = "vgg4-tiny", steps = 2}
            training = {epochs = 4, batch_size = 8, checkpoint_seconds = 1e-9, device = "cpu"}
            [defense]
            kind = "stack"
            [[defense.parts]]
            kind = "at"
            attack = {kind = "pgd", steps = 1}
            threat = {kind = "linf", eps = 0.05}
            [[defense.parts]]
            kind = "mpd-sgr"
            eta = 0.1
            [[defense.parts]]
            kind = "tgo"
            """
        )
    )
    return path


def test_killed_and_stopped_at_random_moments(recipe_file: Path, tmp_path: Path, same: Any, lines: Any) -> None:
    """SIGKILL up to six times at random moments, SIGINT once, each time the same command: the same bits as never stopped."""
    seed = str(int.from_bytes(os.urandom(4), "big"))
    asked = [sys.executable, "-c", DRIVER, str(recipe_file), str(tmp_path), seed]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(asked, capture_output=True, text=True, timeout=200, env=environment)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Stopped after step" in done.stdout
    told = json.loads(done.stdout.splitlines()[-1])
    message = f"{told}, seed {seed}: {done.stderr}"
    assert told["ends"].count(-9) >= 2, message
    assert set(told["ends"]) == {-9, 0}, message
    assert (told["stopped"], told["last"]) == (130, 0), message
    assert "state.safetensors" in told["left"], message
    assert "model.safetensors" not in told["left"], message
    whole, card = read_tensors(tmp_path / "whole" / "model.safetensors")
    assert len(lines(tmp_path / "whole" / "metrics.jsonl")) == 4
    for folder in (tmp_path / "killed", tmp_path / "stopped"):
        weights, other = read_tensors(folder / "model.safetensors")
        assert same(whole, weights), message
        assert other["sha256"] == card["sha256"]
        assert lines(tmp_path / "whole" / "metrics.jsonl") == lines(folder / "metrics.jsonl")


class TestMetrics:
    def test_every_line_tells_everything(self, trained: Any, tmp_path: Path) -> None:
        run = trained(tmp_path)
        found = [json.loads(text) for text in (tmp_path / "metrics.jsonl").read_text().splitlines()]
        assert found == run.outcome.lines
        assert [line["epoch"] for line in found] == [1, 2, 3]
        assert [line["step"] for line in found] == [4, 8, 12]
        layers = list(neurons_of(run.model))
        assert len(layers) == 3
        wanted = {"loss", "train_accuracy", "validation_accuracy", "learning_rate", "seconds", "penalty.mpd-sgr", "penalty.tgo"}
        wanted |= {"rate", "overlap", "proximal", "dead", "mean", "std"}
        wanted |= {f"{what}.{layer}" for what in ("rate", "overlap", "mean", "std") for layer in layers}
        for line in found:
            assert wanted <= line.keys()
            shapes = {f"histogram.{layer}" for layer in layers}
            assert all(math.isfinite(value) for name, value in line.items() if name not in shapes)
            for share in ("train_accuracy", "validation_accuracy", "rate", "overlap", "proximal", "dead"):
                assert 0 <= line[share] <= 1

    def test_the_means_over_an_epoch(self, trained: Any) -> None:
        seen: list[dict[str, Any]] = []
        run = trained(report=lambda done, steps, line: seen.append(line), epochs=1)
        for name in ("loss", "train_accuracy", "penalty.mpd-sgr"):
            assert run.outcome.lines[0][name] == pytest.approx(sum(line[name] for line in seen) / 4, rel=1e-12)

    def test_the_learning_rates_of_the_steps(self, trained: Any) -> None:
        seen: list[float] = []
        trained(report=lambda d, s, line: seen.append(line["learning_rate"]), defense=Stack(), final_learning_rate=1e-3)
        expected = [1e-3 + 4e-3 * (1 + math.cos(math.pi * i / STEPS)) / 2 for i in range(STEPS)]
        assert seen == pytest.approx(expected, rel=1e-12)

    def test_warm_up_rises_to_the_peak_and_ends_at_the_floor(self, trained: Any) -> None:
        seen: list[float] = []
        trained(report=lambda d, s, line: seen.append(line["learning_rate"]), defense=Stack(), warmup_epochs=1.0)
        assert seen[:4] == pytest.approx([5e-3 * k / 4 for k in (1, 2, 3, 4)])
        assert seen[4:] == sorted(seen[4:], reverse=True)
        assert seen[-1] == pytest.approx(0, abs=1e-12)

    def test_validation_is_in_eval_mode_and_on_all_validation_images(self, trained: Any, data: Dataset) -> None:
        run = trained(epochs=1)
        run.model.eval()
        with torch.no_grad():
            guess = run.model(data.validation.pixels(slice(None))).argmax(1)
        assert run.outcome.lines[-1]["validation_accuracy"] == float((guess == data.validation.labels).float().mean())

    def test_the_membranes_of_every_layer_are_logged(self, trained: Any, data: Dataset) -> None:
        run = trained(epochs=2, probe_size=8)
        layers = membranes(run.model, data.validation.pixels(slice(0, 8)))
        assert layers
        for layer in layers:
            first, last = (line[f"histogram.{layer.layer}"] for line in run.outcome.lines)
            assert first != last == histogram(layer)
            assert len(last) == len(LOGGED_EDGES) - 1
            assert sum(last) == pytest.approx(1000, abs=len(last) / 2)
            assert run.outcome.lines[-1][f"mean.{layer.layer}"] == layer.mean
            assert run.outcome.lines[-1][f"std.{layer.layer}"] == layer.std

    def test_it_learns(self, trained: Any) -> None:
        first, *_, last = trained(defense=Stack(), epochs=8).outcome.lines
        assert last["loss"] < 0.7 * first["loss"]


class TestSteps:
    def test_the_signature_has_no_test_split(self) -> None:
        assert list(inspect.signature(fit).parameters) == [
            "model", "train", "validation", "defense", "training", "augmentation", "seed", "out", "report", "teachers",
        ]  # fmt: skip

    def batches(self, trained: Any, unlisted: Any, **changes: Any) -> list[Tensor]:
        batches: list[Tensor] = []

        @unlisted
        class Spy(Defense, kind="spy"):
            def batch(self, model: nn.Module, batch: Batch, step: Step) -> Batch:
                batches.append(batch.clean.flatten(1).sum(1))
                return batch

        trained(defense=Spy(), **changes)
        return batches

    def test_the_last_incomplete_batch_is_dropped_and_orders_differ(self, trained: Any, unlisted: Any) -> None:
        batches = self.batches(trained, unlisted, epochs=2)
        assert [len(b) for b in batches] == [8] * 8
        assert not torch.equal(batches[0], batches[4])

    @pytest.mark.parametrize(("size", "batch"), [(1, 8), (5, 8), (8, 8), (9, 8)])
    def test_tiny_sets(self, size: int, batch: int, data: Dataset, network: Any, settings: Any) -> None:
        outcome = fit(
            network(), data.train.subset(size), data.validation.subset(1), defense=Stack(),
            training=settings(batch_size=batch, epochs=2),
        )  # fmt: skip
        assert outcome.steps == 2
        assert outcome.finished

    def test_max_steps_ends_early_and_is_finished(self, trained: Any, lines: Any, tmp_path: Path) -> None:
        run = trained(tmp_path, max_steps=6)
        assert run.outcome.finished
        assert run.outcome.steps == 6
        assert [(line["epoch"], line["step"]) for line in run.outcome.lines] == [(1, 4), (2, 6)]
        whole = trained()
        assert lines(run.outcome.lines)[0] == lines(whole.outcome.lines)[0]

    def test_label_smoothing_by_hand(self, trained: Any, unlisted: Any) -> None:
        seen: dict[str, Any] = {}

        @unlisted
        class Spy(Defense, kind="spy"):
            def penalty(self, model: nn.Module, batch: Batch, logits: Tensor, step: Step) -> None:
                if not seen:
                    seen.update(logits=logits.detach().clone(), y=batch.y)

        losses: list[float] = []
        trained(defense=Spy(), label_smoothing=0.2, max_steps=1, report=lambda d, s, line: losses.append(line["loss"]))
        log = functional.log_softmax(seen["logits"], 1)
        target = 0.8 * functional.one_hot(seen["y"], 4) + 0.2 / 4
        assert losses == [pytest.approx(float(-(target * log).sum(1).mean()), rel=1e-6)]

    def test_clipping_bounds_the_gradient(self, trained: Any, unlisted: Any) -> None:
        norms: list[float] = []

        @unlisted
        class Spy(Defense, kind="spy"):
            def constrain(self, model: nn.Module, step: Step) -> None:
                norms.append(torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm().item())

        trained(defense=Spy(), epochs=1)
        free, norms[:] = list(norms), []
        trained(defense=Spy(), epochs=1, clip_norm=0.01)
        assert min(free) > 0.01
        assert norms == pytest.approx([0.01] * 4, rel=1e-3)

    def test_bfloat16_runs_and_stays_finite(self, trained: Any, same: Any, tmp_path: Path) -> None:
        run = trained(precision="bf16-mixed", epochs=2)
        assert all(torch.isfinite(w).all() and w.dtype != torch.bfloat16 for w in run.weights.values())
        assert all(math.isfinite(line["loss"]) for line in run.outcome.lines)
        assert not same(run.weights, trained(epochs=2).weights)
        with pytest.raises(Crash):
            trained(tmp_path, precision="bf16-mixed", epochs=2, report=crash_at(5), checkpoint_seconds=1e-9)
        assert same(run.weights, trained(tmp_path, precision="bf16-mixed", epochs=2, checkpoint_seconds=1e-9).weights)

    @pytest.mark.parametrize("channels_last", [True, False])
    def test_either_memory_layout_comes_back_from_disk(
        self, channels_last: bool, trained: Any, same: Any, tmp_path: Path
    ) -> None:
        with pytest.raises(Crash):
            trained(tmp_path, channels_last=channels_last, report=crash_at(6), checkpoint_seconds=1e-9)
        found = trained(tmp_path, channels_last=channels_last)
        assert same(found.weights, trained(channels_last=channels_last).weights)

    @pytest.mark.parametrize("optimiser", [SGD(weight_decay=0.5), AdamW(weight_decay=0.5)])
    def test_reg_trains_without_weight_decay(self, optimiser: Any, trained: Any, unlisted: Any) -> None:
        """A parameter without gradient shows decay alone: the last bias under a loss that ignores it stays at zero."""

        @unlisted
        class Deaf(Defense, kind="deaf"):
            def objective(self, model: nn.Module, batch: Batch, logits: Tensor, step: Step) -> Tensor:
                return 0.0 * logits.sum()

        plain = trained(defense=Deaf(), optimiser=optimiser, max_steps=2).weights
        kept = trained(defense=Stack((Deaf(), REG(beta=1e-12))), optimiser=optimiser, max_steps=2).weights
        start = trained(defense=Deaf(), optimiser=optimiser.model_copy(update={"learning_rate": 1e-30}), max_steps=1).weights
        norms = [k for k in start if k.endswith("weight") and start[k].ndim == 1]
        assert norms
        for name in norms:
            assert torch.equal(kept[name], start[name])
            assert (plain[name] < start[name]).all()


@pytest.fixture(scope="session")
def bad(unlisted: Any) -> type[Defense]:
    @unlisted
    class Bad(Defense, kind="bad"):
        """NaN from step 6 on, in the loss or only in its gradient."""

        in_gradient: bool = False

        def penalty(self, model: nn.Module, batch: Batch, logits: Tensor, step: Step) -> Tensor | None:
            if round(step.progress * STEPS) < 6:
                return None
            zero = (logits * 0).sum()
            return zero.clamp_min(0).sqrt() if self.in_gradient else zero / 0

    return Bad


class TestFaults:
    def test_a_loss_that_is_no_number(self, trained: Any, bad: Any, tmp_path: Path) -> None:
        with pytest.raises(Diverged, match=r"not finite at step 6 .*lower the learning rate"):
            trained(tmp_path, defense=bad(), checkpoint_seconds=1e-9)
        tensors, card = read_tensors(tmp_path / "state.safetensors")
        assert card["step"] == 6
        assert all(torch.isfinite(t).all() for t in tensors.values())
        assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]

    def test_a_gradient_that_is_no_number(self, trained: Any, bad: Any, tmp_path: Path) -> None:
        with pytest.raises(Diverged, match="gradient is not finite at step 6"):
            trained(tmp_path, defense=bad(in_gradient=True), clip_norm=1.0, checkpoint_seconds=1e-9)
        assert all(torch.isfinite(t).all() for t in read_tensors(tmp_path / "state.safetensors")[0].values())

    def test_a_full_disk(self, trained: Any, same: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """The message is readable, the state before is intact, and with space again training goes on to the same bits."""
        real, calls = os.fsync, 0

        def full(descriptor: int) -> None:
            nonlocal calls
            calls += 1
            if calls > 15:
                raise OSError(errno.ENOSPC, "No space left on device")
            real(descriptor)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(RequestError, match=r"cannot write .*No space left on device"):
                trained(tmp_path, checkpoint_seconds=1e-9)
        names = {p.name for p in tmp_path.iterdir()}
        assert names == {"state.safetensors", "state.previous.safetensors", "metrics.jsonl"}
        assert read_tensors(tmp_path / "state.safetensors")[1]["step"] >= 4
        assert same(trained().weights, trained(tmp_path, checkpoint_seconds=1e-9).weights)
