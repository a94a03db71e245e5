"""How rough the loss is around images: one number of a surface that papers show as a picture."""

from collections.abc import Sequence
from statistics import mean

from torch import Tensor, nn

from snnguard.analysis import surfaces
from snnguard.findings import Surface
from snnguard.neurons import BPTT
from snnguard.threat import Threat


def landscape(model: nn.Module, x: Tensor, y: Tensor, *, threat: Threat, draws: int, seed: int) -> Surface:
    """The surface along the attack by BPTT and across it, over images `x` [N, C, H, W] of classes `y` [N]."""
    [found] = surfaces(model, x, y, threat=threat, rules={"bptt": BPTT()}, draws=draws, seed=seed)
    return found


def roughness(surface: Surface) -> float:
    """Mean size of the second differences of the loss between neighbouring points of the grid: 0 where it is linear."""
    rows = [list(row) for row in surface.loss]
    columns = [list(column) for column in zip(*rows, strict=True)]
    return mean(abs(bend) for line in (*rows, *columns) for bend in _bends(line))


def _bends(line: Sequence[float]) -> list[float]:
    return [before - 2 * here + after for before, here, after in zip(line, line[1:], line[2:], strict=False)]
