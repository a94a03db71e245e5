"""What a gradient rule remembers of each sample and layer between the calls of one attack run. Nothing else has a state."""

import torch
from torch import Tensor

from snnguard.errors import RequestError


class Memory:
    """Tensors [T, size, *F] by name, of which a call sees and changes the rows of the samples that it is about.

    With `learns` False a call reads and changes nothing: further draws of a random model, which show the same point again.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.asked: Tensor | None = None
        self.whole: bool | None = True
        self.learns = True
        self._kept: dict[str, Tensor] = {}

    def about(self, rows: Tensor | None, *, learns: bool = True) -> "Memory":
        """The same memory, now about the samples `rows` [n] (None: all)."""
        self.asked, self.whole, self.learns = rows, None, learns
        return self

    @property
    def rows(self) -> Tensor | None:
        """The samples that the call is about; None for all of them in order, which need no copies."""
        rows = self.asked
        if self.whole is None:  # looked at only where something is remembered, as the answer has to come from the device
            self.whole = rows is None or (
                len(rows) == self.size and bool((rows == torch.arange(self.size, device=rows.device)).all())
            )
        return None if self.whole else rows

    def recall(self, name: str, like: Tensor, *, start: float) -> Tensor:
        """The rows [T, n, *F] kept under `name`, shaped like `like`; `start` everywhere as long as nothing was kept.

        To be read only: it may be what is kept itself. Raises `RequestError` where a layer sees more or fewer samples than
        the call is about.
        """
        samples = self.size if self.rows is None else len(self.rows)
        if like.shape[1] != samples:
            raise RequestError(
                f"this gradient rule remembers something of each sample, but a neuron saw {like.shape[1]} rows for "
                f"{samples} samples; take a rule without memory, such as bptt, for a model that changes the batch inside"
            )
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
        # Indexed, not made anew, to have the memory order of `value`; a copy, so that what was remembered can be gone back to.
        kept = self._kept[name].clone() if name in self._kept else value[:, [0] * self.size].fill_(start)
        kept[:, self.rows] = value
        self._kept[name] = kept

    def remembered(self) -> dict[str, Tensor]:
        """All that is kept, to be given to `go_back_to`."""
        return dict(self._kept)

    def go_back_to(self, remembered: dict[str, Tensor]) -> None:
        """Forgets what was kept since."""
        self._kept = dict(remembered)
