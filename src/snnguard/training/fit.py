"""The training loop. It knows the protocol of a defense and no defense by name, and it never sees the test split."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional

from snnguard import pages, rng
from snnguard.analysis import histogram, membranes, summary
from snnguard.attacks import hard, predict
from snnguard.data import Augmentation, Split
from snnguard.data.dataset import fingerprint
from snnguard.defenses.defense import Batch, Defense, Step
from snnguard.errors import RequestError, RunFolderError
from snnguard.layers import watching
from snnguard.layers.across import devices, moments, total
from snnguard.neurons import Membrane, neurons_of
from snnguard.record import write_atomic

from .checkpoint import load_weights, pack_optimiser, read_latest, unpack_optimiser, write_tensors
from .frugal import with_less_memory
from .interrupt import graceful
from .optimiser import learning_rate_share
from .settings import Training, resolve_device
from .spread import spread
from .steps import NORM, Diverged, Line, Unread

Report = Callable[[int, int, Line], None]


SILENT = {"checkpoint_seconds", "device", "devices", "max_steps", "probe_size", "recompute"}
"""Settings of training that do not change its numbers, so that a resumed run may have others."""


class Stopped(KeyboardInterrupt):
    """Ctrl-C, after the current step was finished and saved. `outcome` is what there is."""

    def __init__(self, outcome: "Outcome") -> None:
        super().__init__(f"stopped after step {outcome.steps}; the same call goes on")
        self.outcome = outcome


@dataclass
class Progress:
    """Everything besides weights and optimiser that training resumes from."""

    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What training leaves besides the weights: one line per epoch, and whether it came to its end."""

    lines: list[Line]
    finished: bool
    steps: int


def fit(
    model: nn.Module,
    train: Split,
    validation: Split,
    *,
    defense: Defense,
    training: Training,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    out: Path | None = None,
    report: Report | None = None,
    teachers: Mapping[str, nn.Module] | None = None,
) -> Outcome:
    """Trains `model` in place. With `out`, saves `state.safetensors` and `metrics.jsonl` there and resumes from them.

    Every random number of a step comes from (seed, step) and every order from (seed, epoch), so a run that was stopped
    anywhere and resumed ends with the same bits as one that was not. `report(step, steps, line)` is called after each
    step. `teachers` are the trained networks that `defense.teachers()` asks for, by its names. An epoch is the whole
    batches that the images fill; the rest of a shuffled epoch is left out. The model ends in eval mode, on the device of
    `training`.

    Raises `Stopped`, a KeyboardInterrupt, after Ctrl-C or SIGTERM; `Diverged` when the loss or a weight is no longer
    finite, with the last saved state untouched; `RunFolderError` if `out` holds the training of something else.
    """
    given = (model, train, validation, defense, training, augmentation, seed, out, teachers or {})
    if training.devices == 1:
        return _fit(one_device(training), *given, report=report)
    outcome: Outcome = spread(_fit, given, training, report)
    if not outcome.finished:
        raise Stopped(outcome)
    model.eval()
    return outcome


def one_device(training: Training) -> Fabric:
    """The device of a training that has one to itself."""
    return Fabric(accelerator=resolve_device(training.device).type, devices=1, precision=training.precision)


def _fit(fabric: Fabric, *given: Any, report: Report | None = None) -> Outcome:
    """`fit` in one of the processes that train together."""
    loop = Loop(fabric, *given)
    model = loop.model
    loop.resume()
    with pages.kept(), graceful() as stop_asked:
        while loop.progress.step < loop.steps:
            loop.step()
            ended = loop.progress.step % loop.per_epoch == 0 or loop.progress.step == loop.steps
            due = loop.unread.due or ended
            if due:
                loop.read(report)
            # Asked once: whoever leaves has saved. Several devices have to wait for each other to agree.
            stopping = (due or devices() == 1) and loop.agreed(stop_asked())
            if ended:
                loop.end_epoch()
            elif stopping or time.monotonic() - loop.saved > loop.training.checkpoint_seconds:
                loop.read(report)
                loop.save()
            if stopping:
                break
    outcome = Outcome(lines=loop.progress.lines, finished=loop.progress.step == loop.steps, steps=loop.progress.step)
    if not outcome.finished:
        raise Stopped(outcome)
    loop.finish()
    model.eval()
    return outcome


class Loop:
    """Model, optimiser and place in training, with the few things that are done with them."""

    def __init__(
        self, fabric: Fabric, model: nn.Module, train: Split, validation: Split, defense: Defense, training: Training,
        augmentation: Augmentation | None, seed: int, out: Path | None, teachers: Mapping[str, nn.Module],
    ) -> None:  # fmt: skip
        self.defense, self.training, self.augmentation, self.seed, self.out = defense, training, augmentation, seed, out
        self.device = fabric.device
        self.train, self.validation = train.to(self.device), validation.to(self.device)
        self.batch_size = min(training.batch_size, len(train))
        if self.batch_size % fabric.world_size:
            raise RequestError(f"{fabric.world_size} devices cannot share batches of {self.batch_size} images equally")
        self.per_epoch = len(train) // self.batch_size
        self.total = training.epochs * self.per_epoch
        self.steps = min(self.total, training.max_steps or self.total)
        model.to(self.device)
        if training.channels_last:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if training.recompute:
            model.recompute = True  # type: ignore[assignment]
        self.model = model
        self.fabric = fabric
        optimiser = training.optimiser.over(model, defense.groups(model))
        self.wrapped, self.optimiser = self.fabric.setup(model, optimiser)
        self.teachers = self._checked(teachers)
        with rng.scope(rng.derive(seed, "classes")):
            self.classes = predict(model, self.train.pixels(torch.arange(1), self.device)).shape[1]
        self.progress, self.unread = Progress(), Unread(self.device)
        self.memory: dict[str, Tensor] = {}
        self.saved = time.monotonic()
        self.setup = self._setup()

    def step(self) -> None:
        """One optimiser step, in the order of the hooks. Nothing here asks the device for an answer."""
        began = time.perf_counter()
        index = self.progress.step
        seed = rng.derive(self.seed, "step", index)
        rate = self._set_learning_rate(index)
        work = partial(self._gradients, index, seed)
        # One device alone cannot begin a step anew while the others wait for its gradients.
        step, batch, logits, main, penalties = work() if devices() > 1 else with_less_memory(self.model, work)
        values = {"loss": main, "train_accuracy": (logits.argmax(1) == hard(batch.y)).float().mean()}
        values |= {f"penalty.{name}": value for name, value in penalties.items()}
        with rng.scope(rng.derive(seed, "update")):
            if self.training.clip_norm:
                norm = self.fabric.clip_gradients(
                    self.wrapped, self.optimiser, max_norm=self.training.clip_norm, error_if_nonfinite=False
                )
                values |= {} if norm is None else {NORM: norm}
            self.optimiser.step()
            self.defense.constrain(self.model, step)
        self.progress.step += 1
        self.unread.add(index, rate, values)
        self.progress.seconds += time.perf_counter() - began

    def read(self, report: Report | None) -> None:
        """Takes the numbers of the last steps from the device, and tells them."""
        began = time.perf_counter()
        lines = self.unread.read()
        self.progress.seconds += time.perf_counter() - began
        for index, line in lines:
            for name, value in line.items():
                if name != "learning_rate":
                    self.progress.sums[name] = self.progress.sums.get(name, 0.0) + value
            if report is not None:
                report(index + 1, self.steps, line)

    def agreed(self, asked: bool) -> bool:
        """Whether a stop was asked for on any of the devices that train together."""
        return asked if devices() == 1 else bool(total(torch.tensor(float(asked), device=self.device)))

    def _gradients(self, index: int, seed: int) -> tuple[Step, Batch, Tensor, Tensor, Mapping[str, Tensor]]:
        """From the images to the gradients, which are left in the parameters. A second call gives the same."""
        defense, model = self.defense, self.model
        # Each device draws its own noise for its own images; what concerns the weights is drawn from the shared seed.
        own = seed if devices() == 1 else rng.derive(seed, "device", self.fabric.global_rank)
        with rng.scope(own):
            model.train()
            x, y = self._batch(index, seed)
            step = replace(self._where(), seed=own)
            batch = Batch(x=x, y=y, clean=x)
            with self.fabric.autocast():
                defense.prepare(model, batch, step)
                batch = defense.batch(model, batch, step)
            with defense.around(model, batch, step):
                step, logits, main, penalties = self._descend(batch, step)
        return replace(step, seed=seed), batch, logits, main, penalties

    def _descend(self, batch: Batch, step: Step) -> tuple[Step, Tensor, Tensor, Mapping[str, Tensor]]:
        """Forward and backward: the step with its membranes, logits, main loss and penalties."""
        defense, model = self.defense, self.model
        with watching(model, defense.watch) as seen:
            logits = self.wrapped(self._laid_out(batch.x))
        step = replace(step, membranes={name: _shared(passes[-1]) for name, passes in seen.items()})
        with self.fabric.autocast():
            main = defense.objective(model, batch, logits, step)
            if main is None:
                main = functional.cross_entropy(logits, batch.y, label_smoothing=self.training.label_smoothing)
            penalties = defense.penalties(model, batch, logits, step)
        loss = main + sum(penalties.values()) if penalties else main
        self.optimiser.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        return step, logits, main, penalties

    def finish(self) -> None:
        """Lets the defense turn what was trained into the finished network."""
        seed = rng.derive(self.seed, "finish")
        with rng.scope(seed):
            self.defense.finish(self.model, replace(self._where(), seed=seed))

    def end_epoch(self) -> None:
        """Closes the epoch's line of metrics: means over its steps, then a look at the validation images."""
        count = (self.progress.step - 1) % self.per_epoch + 1
        epoch = (self.progress.step - 1) // self.per_epoch + 1
        line: Line = {"epoch": epoch, "step": self.progress.step, "seconds": round(self.progress.seconds, 3)}
        line |= {name: value / count for name, value in self.progress.sums.items()}
        line["learning_rate"] = self.optimiser.param_groups[0]["lr"]
        with rng.scope(rng.derive(self.seed, "validation", epoch)):
            line |= self._validate()
        self.progress.lines.append(line)
        self.progress.sums, self.progress.seconds = {}, 0.0
        self.save()

    def save(self) -> None:
        """Writes the state and the metrics, if there is a folder to write to."""
        self.saved = time.monotonic()
        if not self.fabric.is_global_zero:
            return
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self.model.parameters()):
            raise Diverged(
                f"a weight is no longer finite after step {self.progress.step}; lower the learning rate or clip_norm"
            )
        if self.out is None:
            return
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"memory.{name}": tensor for name, tensor in self.memory.items()}
        card = {"step": self.progress.step, "sums": self.progress.sums, "lines": self.progress.lines}
        card |= {"seconds": self.progress.seconds, "setup": self.setup}
        write_tensors(self.out / "state.safetensors", tensors | pack_optimiser(self.optimiser), card, keep_previous=True)
        self._write_metrics()

    def resume(self) -> None:
        """Goes on from the newest readable state, if there is one; metrics written after it are made again."""
        if self.out is None:
            return
        latest = read_latest(self.out / "state.safetensors")
        if latest is None:
            return
        tensors, card = latest
        if card.get("setup") != self.setup:
            raise RunFolderError(
                f"{self.out} holds the training of another defense, data set, seed or settings; "
                "choose another folder or delete it"
            )
        weights = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
        load_weights(self.model, weights, self.out / "state.safetensors")
        unpack_optimiser(self.optimiser, tensors)
        self.memory.update(
            {name.removeprefix("memory."): t.to(self.device) for name, t in tensors.items() if name.startswith("memory.")}
        )
        self.progress = Progress(**{k: card[k] for k in ("step", "sums", "lines", "seconds")})
        if self.fabric.is_global_zero:
            self._write_metrics()

    def _where(self) -> Step:
        """The place in training, without what belongs to one step."""
        index = self.progress.step
        return Step(
            progress=index / self.total, seed=0, membranes={}, classes=self.classes, new_epoch=index % self.per_epoch == 0,
            memory=self.memory, teachers=self.teachers,
        )  # fmt: skip

    def _checked(self, teachers: Mapping[str, nn.Module]) -> Mapping[str, nn.Module]:
        """The teachers, frozen. Raises `RequestError` if they are not those that the defense asks for."""
        asked = self.defense.teachers()
        if asked.keys() != teachers.keys():
            raise RequestError(
                f"{self.defense} learns from the teachers {sorted(asked) or 'none'}, found {sorted(teachers) or 'none'}; "
                "`snnguard train` trains them by itself, `fit` takes them as teachers={name: network}"
            )
        for teacher in teachers.values():
            teacher.to(self.device).eval().requires_grad_(False)
        return teachers

    def _setup(self) -> str:
        """16 hex digits of what the numbers depend on besides the network."""
        training = {name: value for name, value in self.training.to_json().items() if name not in SILENT}
        augmentation = None if self.augmentation is None else self.augmentation.to_json()
        said = json.dumps([self.defense.to_json(), training, augmentation, self.seed], sort_keys=True)
        images = fingerprint((self.train.images, self.train.labels))
        lessons = {name: fingerprint(tuple(teacher.state_dict().values())) for name, teacher in sorted(self.teachers.items())}
        return hashlib.blake2b(f"{said}{images}{lessons or ''}".encode(), digest_size=8).hexdigest()

    def _write_metrics(self) -> None:
        assert self.out is not None
        text = "".join(json.dumps(line) + "\n" for line in self.progress.lines)
        write_atomic(self.out / "metrics.jsonl", text.encode())

    def _batch(self, index: int, seed: int) -> tuple[Tensor, Tensor]:
        epoch, place = divmod(index, self.per_epoch)
        generator = torch.Generator().manual_seed(rng.derive(self.seed, "epoch", epoch))
        order = torch.randperm(len(self.train), generator=generator)
        chosen = order[place * self.batch_size : (place + 1) * self.batch_size]
        if self.device.type == "cuda":  # from pinned memory, so that nobody waits for the copy
            chosen = chosen.pin_memory().to(self.device, non_blocking=True)
        x = self.train.pixels(chosen, self.device)
        if self.augmentation is not None:
            x = self.augmentation(x, torch.Generator().manual_seed(rng.derive(seed, "augmentation")))
        share = slice(self.fabric.global_rank, None, self.fabric.world_size)
        return x[share], self.train.labels[chosen.to(self.device)][share]

    def _laid_out(self, x: Tensor) -> Tensor:
        if self.training.channels_last and x.ndim == 4:
            return x.contiguous(memory_format=torch.channels_last)
        return x

    def _set_learning_rate(self, index: int) -> float:
        optimiser = self.training.optimiser
        final = self.training.final_learning_rate / optimiser.learning_rate
        warmup = self.training.warmup_epochs / self.training.epochs
        # The first step of a warm-up would otherwise have a rate of zero and change nothing.
        share = learning_rate_share((index + (1 if warmup else 0)) / self.total, warmup, final)
        for group in self.optimiser.param_groups:
            group["lr"] = optimiser.learning_rate * group["scale"] * share
        return optimiser.learning_rate * share

    def _validate(self) -> Line:
        everything = torch.arange(len(self.validation))
        x = self._laid_out(self.validation.pixels(everything, self.device))
        y = self.validation.labels
        line: Line = {"validation_accuracy": float((predict(self.model, x).argmax(1) == y).float().mean())}
        if neurons_of(self.model):
            layers = membranes(self.model, x[: self.training.probe_size])
            line |= summary(layers)
            for layer in layers:
                logged = {name: getattr(layer, name) for name in ("rate", "overlap", "mean", "std")}
                logged["histogram"] = histogram(layer)
                line |= {f"{name}.{layer.layer}": value for name, value in logged.items()}
        return line


def _shared(membrane: Membrane) -> Membrane:
    """The moments of the whole batch, of which each device has its share; hinges are means over samples already."""
    if devices() == 1 or membrane.mean is None or membrane.var is None:
        return membrane
    mean, var = moments(membrane.mean, membrane.var)
    return replace(membrane, mean=mean, var=var)
