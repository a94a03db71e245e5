"""Time and batch: layers without memory see [T*N, *F], neurons see [T, N, *F]."""

from collections.abc import Iterable

from torch import Tensor, nn


def fold(x: Tensor) -> Tensor:
    """[T, N, *F] -> [T*N, *F]; a view, in any memory layout."""
    return x.flatten(0, 1)


def unfold(x: Tensor, steps: int) -> Tensor:
    """[T*N, *F] -> [T, N, *F]; a view, in any memory layout."""
    steps_first: Tensor = x.unflatten(0, (steps, -1))
    return steps_first


def over_time(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Applies memoryless layers to every time step at once: [S, N, *F] -> [S, N, *G]."""
    steps = len(x)
    x = fold(x)
    for layer in layers:
        x = layer(x)
    return unfold(x, steps)


class OverTime(nn.Sequential):
    """Applies memoryless layers to every time step at once: [T, N, *F] -> [T, N, *G].

    A current that does not change comes as [1, N, *F] and is computed once.
    """

    def forward(self, x: Tensor) -> Tensor:
        return over_time(self, x)
