"""What an attack wants of each sample: to leave its class, to reach another one, or to leave it by way of another."""

from dataclasses import dataclass

from torch import Tensor

from .model import hard


@dataclass(frozen=True)
class Aim:
    """`leave` is each sample's class [N], or its soft labels [N, K]; `reach`, if given, the class [N] that it is pushed to.

    With `exact` only `reach` counts as a success, otherwise every class but the one to leave: that is how multi-targeted
    attacks push towards one class after another and take whatever falls.
    """

    leave: Tensor
    reach: Tensor | None = None
    exact: bool = False

    def __getitem__(self, rows: Tensor) -> "Aim":
        """The aims of some of the samples, by a mask or by indices."""
        return Aim(self.leave[rows], None if self.reach is None else self.reach[rows], self.exact)

    def reached(self, logits: Tensor) -> Tensor:
        """Whether the most likely class is one that is wanted, bool [N]."""
        found = logits.argmax(1)
        return found == self.reach if self.exact and self.reach is not None else found != hard(self.leave)

    def lead(self, logits: Tensor) -> Tensor:
        """By how much each sample is where it is wanted, in logits, [N]: positive where it is, apart from ties.

        max_{i != y} z_i - z_y to leave y; z_t - max_{i != t} z_i to reach t exactly; z_t - z_y to leave y by way of t.
        """
        if self.reach is None:
            return margin(logits, hard(self.leave))
        if self.exact:
            return -margin(logits, self.reach)
        return _of(logits, self.reach) - _of(logits, hard(self.leave))


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """max_{i != y} z_i - z_y, [N]; positive where the sample is misclassified."""
    others = logits.scatter(1, y[:, None], -float("inf"))
    return others.amax(1) - _of(logits, y)


def _of(logits: Tensor, y: Tensor) -> Tensor:
    return logits.gather(1, y[:, None])[:, 0]
