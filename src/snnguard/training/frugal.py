"""What training does when memory runs out: the same step again, with activations computed twice."""

import logging
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from snnguard.errors import OutOfMemory, out_of_memory

T = TypeVar("T")
log = logging.getLogger(__name__)


def with_less_memory(model: nn.Module, work: Callable[[], T]) -> T:
    """`work()`, all of a training step that comes before the update; where it does not fit, `model.recompute` is turned on
    and it starts anew.

    `work` seeds itself and leaves nothing behind but gradients and buffers of the model, which are put back, so the numbers
    are those of a machine with more memory. Raises `OutOfMemory` where that does not fit either, or where the model cannot
    recompute.
    """
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        return work()
    except (RuntimeError, MemoryError, OutOfMemory) as error:
        if not out_of_memory(error):
            raise
        if getattr(model, "recompute", True):
            raise _too_large(error) from error
    # Outside the handler, where nothing holds on to the activations any more.
    log.warning("out of memory: from here on activations are computed twice (training.recompute=true)")
    model.recompute = True  # type: ignore[assignment]
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
    try:
        return work()
    except (RuntimeError, MemoryError, OutOfMemory) as error:
        if not out_of_memory(error):
            raise
        raise _too_large(error) from error


def _too_large(error: BaseException) -> OutOfMemory:
    return OutOfMemory(
        "a training step does not fit into memory, even with activations computed twice; lower training.batch_size or "
        f"network.steps ({error})"
    )
