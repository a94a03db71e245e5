"""Two models on the same images, and one method over several seeds: what a difference of two percentages is worth.

Made from records alone, so that the judge and the report say the same.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import binomtest

from snnguard.errors import RequestError
from snnguard.record import Flags, Record


@dataclass(frozen=True, kw_only=True)
class Paired:
    """`only_one` images stand in the first model alone, `only_other` in the second alone, of `total`.

    `p` is the probability of a split at least as uneven if neither model were better: McNemar's test, exact.
    """

    only_one: int
    only_other: int
    total: int
    p: float

    @property
    def difference(self) -> float:
        """Accuracy of the second less that of the first."""
        return (self.only_other - self.only_one) / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of `difference`, in [-1, 1].

        SOURCE: Agresti & Min 2005: Wald's interval of paired shares after half an image is added to each of the four cells.
        """
        total = self.total + 2
        one, other = (self.only_one + 0.5) / total, (self.only_other + 0.5) / total
        half = statistics.NormalDist().inv_cdf(0.975) * math.sqrt((one + other - (other - one) ** 2) / total)
        return max(-1.0, other - one - half), min(1.0, other - one + half)


def paired(one: Record, other: Record, *, attack: str | None = None) -> Paired:
    """Compares two records image by image: their worst cases, or what stands under the attack of that name ("clean": none).

    SOURCE: McNemar 1947, in the exact form of the binomial test on the images where the models differ. Raises
    `RequestError` if the records are not of the same images and the same threat.
    """
    if len(one.clean) != len(other.clean) or one.provenance.data != other.provenance.data:
        raise RequestError(
            f"{one.name} and {other.name} were not judged on the same images: "
            f"{one.provenance.data or len(one.clean)}; {other.provenance.data or len(other.clean)}"
        )
    if one.threat != other.threat:
        raise RequestError(f"{one.name} and {other.name} were judged under other threats: {one.threat}; {other.threat}")
    first, second = (_standing(record, attack) for record in (one, other))
    pairs = list(zip(first.values, second.values, strict=True))
    only_one, only_other = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    apart = only_one + only_other
    p = float(binomtest(only_one, apart).pvalue) if apart else 1.0
    return Paired(only_one=only_one, only_other=only_other, total=len(pairs), p=p)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Mean and sample standard deviation over runs; the deviation is None for a single one."""

    mean: float
    std: float | None
    runs: int


def over_seeds(records: Sequence[Record], *, attack: str | None = None) -> Spread:
    """The worst-case accuracy (or that under `attack`) of one method over its seeds. Raises `RequestError` without records."""
    if not records:
        raise RequestError("there are no records to average")
    points = [_standing(record, attack).interval.point for record in records]
    return Spread(
        mean=statistics.fmean(points), std=statistics.stdev(points) if len(points) > 1 else None, runs=len(points)
    )  # fmt: skip


def _standing(record: Record, attack: str | None) -> Flags:
    if attack == "clean":
        return record.clean
    try:
        return record.worst_flags if attack is None else record.find(attack).correct
    except KeyError as error:
        raise RequestError(f"{record.name}: {error.args[0]}") from None
