"""Training steps and input gradients of every contestant, in turns."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from snnguard import pages, rng
from snnguard.training import SGD

from . import apart
from .contestants import Contestant, calibrated, contestants, ours
from .measure import ratio

Work = Literal["training step", "input gradient"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is measured: a network on 3x32x32 images, `steps` time steps, `batch` images."""

    work: Work = "training step"
    network: str = "vgg11"
    steps: int = 4
    batch: int = 32
    precision: Precision = "float32"

    def __str__(self) -> str:
        return f"{self.work}, {self.network}, T={self.steps}, batch {self.batch}, {self.precision}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One contestant in one case: median seconds, and the median ratios to the floor and to snnguard of the same round."""

    case: Case
    contestant: str
    seconds: float
    to_floor: float
    to_snnguard: float


def measure(case: Case, *, rounds: int = 5, among: Sequence[Contestant] | None = None, device: str = "cpu") -> list[Row]:
    """One row per contestant. They take turns, each in a process of its own; the first round is not kept."""
    taking_part = tuple(among or contestants())
    try:
        begun = {one.name: apart.begin(one.name, apart.prepare, partial(hosted, one, case, device)) for one in taking_part}
        for name, made in begun.items():
            apart.end(name, made)
        turns = [{name: apart.ask(name, apart.seconds) for name in begun} for _ in range(1 + rounds)]
    finally:
        for one in taking_part:
            apart.forgotten(one.name)
    seconds = {name: [turn[name] for turn in turns[1:]] for name in begun}
    return [
        Row(
            case=case,
            contestant=name,
            seconds=statistics.median(values),
            to_floor=ratio(values, seconds["floor"]),
            to_snnguard=ratio(values, seconds["snnguard"]),
        )
        for name, values in seconds.items()
    ]


def hosted(contestant: Contestant, case: Case, device: str) -> Callable[[], object]:
    """The action of a contestant; with memory kept, where that is how it runs, for as long as it is there."""
    act = action(contestant, case, device=device)
    if not contestant.hosted:
        return act

    def within() -> Iterator[object]:
        with pages.kept():
            while True:
                yield act()

    running = within()
    return lambda: next(running)


def action(contestant: Contestant, case: Case, *, device: str = "cpu") -> Callable[[], object]:
    """What is timed, with everything made that it needs."""
    with rng.scope(0):
        x, y = torch.rand(case.batch, 3, 32, 32), torch.randint(10, (case.batch,))
    model = calibrated(contestant.make(ours(case.network, steps=case.steps), case.steps), x).to(device)
    if contestant.channels_last:
        model, x = model.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)  # type: ignore[call-overload]
    given, answers = x.to(device), y.to(device)
    if case.work == "training step":
        return _training_step(model, given, answers, case, contestant)
    return _input_gradient(model, given, answers, case, contestant)


def _precision(case: Case, x: Tensor) -> AbstractContextManager[object]:
    return torch.autocast(x.device.type, torch.bfloat16) if case.precision == "bfloat16" else nullcontext()


def _training_step(model: nn.Module, x: Tensor, y: Tensor, case: Case, contestant: Contestant) -> Callable[[], object]:
    optimiser: torch.optim.Optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    if contestant.hosted:
        optimiser = SGD(learning_rate=0.01, momentum=0.9, weight_decay=0).over(model, [])
    model.train()

    def step() -> None:
        with _precision(case, x):
            logits = model(x)
        loss = functional.cross_entropy(logits.float(), y)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    return step


def _input_gradient(model: nn.Module, x: Tensor, y: Tensor, case: Case, contestant: Contestant) -> Callable[[], object]:
    model.eval().requires_grad_(not contestant.frozen)

    def gradient() -> Tensor | None:
        leaf = x.detach().requires_grad_()
        with _precision(case, x):
            logits = model(leaf)
        loss = functional.cross_entropy(logits.float(), y, reduction="sum")
        if contestant.backward:
            model.zero_grad(set_to_none=True)
            loss.backward()
            return leaf.grad
        return torch.autograd.grad(loss, leaf)[0]

    return gradient


def measure_memory(case: Case, *, among: Sequence[str] = (), device: str = "cpu") -> dict[str, int]:
    """Peak bytes of each contestant at this work, each in a process of its own, measured in its second repetition."""
    found = {}
    for contestant in contestants():
        if not among or contestant.name in among:
            alone = f"the memory of {contestant.name}"
            try:
                apart.ask(alone, apart.prepare, partial(hosted, contestant, case, device))
                found[contestant.name] = apart.ask(alone, apart.peak, device)
            finally:
                apart.leave(alone)
    return found
