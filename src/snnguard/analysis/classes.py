"""Robustness class by class, and what an attack makes of each: from labels and predictions alone."""

from collections import Counter
from collections.abc import Sequence

from torch import Tensor

from snnguard.findings import ClassRobustness
from snnguard.record import Interval


def class_robustness(
    y: Tensor, before: Tensor, after: Tensor, labels: Sequence[str], *, nearest: int = 3
) -> list[ClassRobustness]:  # fmt: skip
    """One entry per class that occurs in `y` [N], given the predicted classes [N] without and with the attack.

    An image counts as right attacked if it is right both times. Confusions are the `nearest` most frequent wrong predictions
    under the attack, whether they were wrong before or not; ties in the order of the labels.
    """
    truth, clean, attacked = y.tolist(), before.tolist(), after.tolist()
    found = []
    for index, label in enumerate(labels):
        rows = [i for i, actual in enumerate(truth) if actual == index]
        right = [i for i in rows if clean[i] == index]
        wrong = Counter(sorted(attacked[i] for i in rows if attacked[i] != index))
        if rows:
            found.append(
                ClassRobustness(
                    label=label,
                    clean=Interval.of(len(right), len(rows)),
                    attacked=Interval.of(sum(attacked[i] == index for i in right), len(rows)),
                    confusions=tuple((labels[k], count) for k, count in wrong.most_common(nearest)),
                )
            )
    return found
