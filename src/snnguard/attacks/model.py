"""What an attack may assume of a model, and how it is held still while it is attacked."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from snnguard.errors import InvalidInput

from .pieces import Pieces

INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)

Model = Callable[[Tensor], Tensor]
"""Raw images [N, *F] to logits [N, K]; normalisation, encoding, time and readout inside; no state between calls."""


@contextmanager
def frozen(model: Model) -> Iterator[None]:
    """Every module in eval mode and no parameter asking for a gradient; each one's own flags are put back on any exit."""
    if not isinstance(model, nn.Module):
        yield
        return
    modes = [(module, module.training) for module in model.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        for module, _ in modes:
            module.training = False
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, required in flags:
            parameter.requires_grad_(required)


def predict(model: Model, x: Tensor, *, draws: int = 1, batch_size: int = 256) -> Tensor:
    """Mean logits [N, K] over `draws` forward passes, without gradients, in pieces of `batch_size` or of what memory allows."""
    with torch.no_grad(), frozen(model):
        pieces = Pieces(batch_size)
        return torch.cat(pieces(len(x), lambda piece: torch.stack([model(x[piece]) for _ in range(draws)]).mean(0)))


def check_labels(x: Tensor, y: Tensor, classes: int | None = None) -> None:
    """Raises `InvalidInput` unless `y` is one integer class per image (below `classes`, where it is known).

    Soft labels pass as well: probabilities [N, K] in floating point.
    """
    if is_soft(y) and len(y) == len(x):
        total = y.sum(1)
        if (classes is not None and y.shape[1] != classes) or bool((y < 0).any()) or not torch.allclose(
            total, torch.ones_like(total), atol=1e-3
        ):  # fmt: skip
            said = "" if classes is None else f" over {classes} classes"
            raise InvalidInput(f"soft labels must be probabilities [N, K]{said}; found {tuple(y.shape)}, sums near {total[:3]}")
        return
    if not isinstance(y, Tensor) or y.dtype not in INTEGERS or y.ndim != 1 or len(y) != len(x):
        found = f"{y.dtype} {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise InvalidInput(f"labels must be an integer tensor [{len(x)}], one per image; found {found}")
    if len(y) and (int(y.min()) < 0 or (classes is not None and int(y.max()) >= classes)):
        top = "" if classes is None else f" to {classes - 1}"
        raise InvalidInput(f"labels must be classes 0{top}; found {int(y.min())} to {int(y.max())}")


def is_soft(y: Tensor) -> bool:
    """Whether labels are probabilities [N, K] instead of classes [N]."""
    return isinstance(y, Tensor) and y.is_floating_point() and y.ndim == 2


def hard(y: Tensor) -> Tensor:
    """Classes [N]: `y` itself, or the most likely class of soft labels."""
    return y.argmax(1) if is_soft(y) else y
