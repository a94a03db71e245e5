"""What a gradient rule remembers of each sample and layer between the calls of one attack run. Nothing else has a state."""

import torch
from torch import Tensor


class Memory:
    """Tensors [T, size, *F] by name, of which a call sees and changes the rows of the samples that it is about.

    With `learns` False a call reads and changes nothing: further draws of a random model, which show the same point again.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.rows: Tensor | None = None
        self.learns = True
        self._kept: dict[str, Tensor] = {}

    def about(self, rows: Tensor | None, *, learns: bool = True) -> "Memory":
        """The same memory, now about the samples `rows` [n] (None: all)."""
        self.rows, self.learns = rows, learns
        return self

    def recall(self, name: str, like: Tensor, *, start: float) -> Tensor:
        """The rows [T, n, *F] kept under `name`, shaped like `like`; `start` everywhere as long as nothing was kept."""
        kept = self._kept.get(name)
        if kept is None:
            return torch.full_like(like, start)
        return kept if self.rows is None else kept[:, self.rows]

    def keep(self, name: str, value: Tensor, *, start: float) -> None:
        """Keeps `value` [T, n, *F] for the present rows; those of samples not seen yet begin at `start`."""
        if not self.learns:
            return
        if self.rows is None:
            self._kept[name] = value
            return
        kept = self._kept.setdefault(name, value.new_full((len(value), self.size, *value.shape[2:]), start))
        kept[:, self.rows] = value
