"""Forward passes in training mode that leave no trace in the normalisation layers."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def untracked(model: nn.Module) -> Iterator[None]:
    """Batch statistics are used as the mode says; the running ones, and their counters, come back as they were.

    Within the block the layers write to copies, so that graphs made before it stay valid.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    saved = [dict(layer._buffers) for layer in layers]
    try:
        for layer in layers:
            layer._buffers = {name: None if b is None else b.clone() for name, b in layer._buffers.items()}
        yield
    finally:
        for layer, buffers in zip(layers, saved, strict=True):
            layer._buffers = buffers
