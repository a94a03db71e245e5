"""One training in several processes, one for each device, by Lightning Fabric's DDP."""

import contextlib
import copy
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import get_context
from multiprocessing.queues import Queue
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy

from snnguard.errors import RequestError, SNNGuardError

from .settings import Training, resolve_device


def spread(work: Callable[..., Any], given: tuple[Any, ...], training: Training, report: Callable[..., None] | None) -> Any:
    """`work(fabric, *given)` in `training.devices` processes; returns what the first one's does.

    `given[0]`, the model, then has its weights. What it reports comes to `report` from a thread. Raises what the first one
    raises of ours.
    """
    kind = resolve_device(training.device).type
    there = torch.cuda.device_count() if kind == "cuda" else training.devices
    if kind == "mps" or there < training.devices:
        raise RequestError(f"training.devices={training.devices}: this machine has {1 if kind == 'mps' else there} of {kind}")
    fabric = Fabric(
        accelerator=kind, devices=training.devices, precision=training.precision, strategy=DDPStrategy(start_method="spawn")
    )  # fmt: skip
    lines: Queue[Any] = get_context("spawn").Queue()
    found: list[Any] = []
    relay = threading.Thread(target=_relay, args=(lines, report, found), daemon=True)
    relay.start()
    # Fabric would look through what it hands over, and refuses values that are not to be changed: so they travel in a function.
    try:
        with _uninterrupted():
            fabric.launch(partial(_in_process, work=work, given=given, lines=lines))
    except Exception:
        lines.put(END)
        relay.join()
        for outcome, _ in found:  # what went wrong first says more than that the others lost their peer
            if isinstance(outcome, SNNGuardError):
                raise outcome from None
        raise
    lines.put(END)
    relay.join()
    [(outcome, weights)] = found
    given[0].load_state_dict({name: torch.as_tensor(values) for name, values in weights.items()})
    return outcome


END = "end"


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C reaches the processes that train, which save and end; this one waits for them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _relay(lines: "Queue[Any]", report: Callable[..., None] | None, found: list[Any]) -> None:
    """Passes on what the first process reports; its last word, outcome and weights, goes to `found`."""
    while (line := lines.get()) != END:
        if isinstance(line, _Last):
            found.append(line)
        elif report is not None:
            report(*line)


class _Last(NamedTuple):
    outcome: Any
    weights: dict[str, Any]


def _in_process(fabric: Fabric, *, work: Callable[..., Any], given: tuple[Any, ...], lines: "Queue[Any]") -> None:
    def report(*line: Any) -> None:
        lines.put(line)

    torch.set_num_threads(max(1, torch.get_num_threads() // fabric.world_size))
    model = copy.deepcopy(given[0])  # what comes from the parent is memory that all processes share
    try:
        outcome = work(fabric, model, *given[1:], report=report if fabric.is_global_zero else None)
    except SNNGuardError as error:
        lines.put(_Last(error, {}))
        raise  # a process that ends like this takes the others with it, which else would wait for it
    except KeyboardInterrupt as stopped:  # `Stopped`, with what there is
        outcome = getattr(stopped, "outcome", None)
        if outcome is None:
            raise
    if fabric.is_global_zero:
        weights = {name: tensor.detach().cpu().numpy() for name, tensor in model.state_dict().items()}
        lines.put(_Last(outcome, weights))
