"""Whether a claim of a paper holds in our numbers.

A claim is pairs: this accuracy is larger than that one. The difference of a pair is taken over the seeds that both have, on
the same images. Its error has two parts: the images (standard error of the paired difference per image) and the trainings
(standard deviation over seeds). Since a few seeds alone say little of that, it is pooled over the networks of a column, less
those that are so near 0 or 100 % that they cannot vary. A pair holds if the difference is above zero by more than its 95 %
interval, and does not hold if it is below zero by more than that; of many pairs of one claim, by more than an interval made
wider so that all together err in 5 % of the cases (Bonferroni). A pair that allows equality holds where the mean does not
contradict it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from scipy.stats import t as student

from snnguard import comparison
from snnguard.record import Flags

from .item import Cell, Claim, Pair

CONFIDENCE = 0.95

VARYING = (5.0, 95.0)
"""Accuracies in percent between which a network counts for what trainings differ by."""


@dataclass(frozen=True, kw_only=True)
class Value:
    """What was measured for a cell: percent by seed, and which images stood, where it is an accuracy."""

    percent: Mapping[int, float]
    flags: Mapping[int, Flags]

    @property
    def mean(self) -> float | None:
        return mean(self.percent.values()) if self.percent else None

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds; None for fewer than two."""
        return stdev(self.percent.values()) if len(self.percent) > 1 else None


Values = Mapping[Cell, Value]


def judged(claim: Claim, values: Values) -> comparison.Claim:
    """The claim with its verdict: it holds if every pair does, and does not if one does not.

    A claim of which a request left pairs out may fail; it cannot hold.
    """
    found = [(pair, _pair(pair, values, among=len(claim.pairs))) for pair in claim.pairs]
    against = [pair for pair, (verdict, _) in found if verdict == "does not hold"]
    unclear = [(pair, why) for pair, (verdict, why) in found if verdict == "cannot be told"]
    holding = len(found) - len(against) - len(unclear)
    counted = f"{holding} of {len(found)} comparisons hold, {len(against)} do not, {len(unclear)} cannot be told"
    counted += "" if claim.whole else "; the rest of the table was not asked for"
    verdict: comparison.Verdict = "does not hold" if against else "holds" if claim.whole and not unclear else "cannot be told"
    if against:
        counted += f"; not: {_said(against[0], values)}"
    elif unclear:
        counted += f"; {unclear[0][1]}: {_said(unclear[0][0], values)}"
    return comparison.Claim(text=claim.text, source=claim.source, verdict=verdict, reason=counted)


def _pair(pair: Pair, values: Values, *, among: int) -> tuple[comparison.Verdict, str]:
    """Verdict of one of so many pairs, and what keeps from one."""
    sides = [side for side in (pair.more, pair.less) if isinstance(side, Cell)]
    seeds = sorted(set.intersection(*({*values[side].percent} for side in sides)))
    if not seeds:
        return "cannot be told", "not measured"
    if len(seeds) < 2:
        return "cannot be told", "one seed says nothing of another training"
    difference = mean(_percent(pair.more, seed, values) - _percent(pair.less, seed, values) for seed in seeds)
    error = _error(sides, seeds, values)
    margin = error.margin(1)
    if difference > margin or (pair.never_less and difference >= 0):
        return "holds", ""
    if difference < -error.margin(among):
        return "does not hold", ""
    return "cannot be told", f"{difference:+.1f} points, interval ±{margin:.1f}"


def _percent(side: Cell | float, seed: int, values: Values) -> float:
    return values[side].percent[seed] if isinstance(side, Cell) else side


@dataclass(frozen=True, kw_only=True)
class Error:
    """Variance of a difference in squared points, and its degrees of freedom."""

    variance: float
    freedom: float

    def margin(self, among: int) -> float:
        """Half the interval, in points, that covers the difference with a confidence of 95 % for `among` of them together."""
        return float(student.ppf(1 - (1 - CONFIDENCE) / 2 / among, self.freedom)) * math.sqrt(self.variance)


def _error(sides: Sequence[Cell], seeds: Sequence[int], values: Values) -> Error:
    parts = [_between_seeds(side, sides, values) for side in sides]
    trainings, freedom = sum(variance for variance, _ in parts) / len(seeds), min(known for _, known in parts)
    images, count = _between_images(sides, seeds, values)
    total = trainings + images
    if not total:
        return Error(variance=0.0, freedom=1.0)
    # SOURCE: Welch and Satterthwaite, degrees of freedom of a sum of two estimated variances.
    return Error(variance=total, freedom=total**2 / (trainings**2 / freedom + images**2 / max(1, count - 1)))


def _between_seeds(cell: Cell, sides: Sequence[Cell], values: Values) -> tuple[float, int]:
    """Variance between trainings and its degrees of freedom, pooled over the cell's column.

    A network near 0 or 100 % has nothing to vary and says nothing of those that have: it counts for its own pair alone.
    """
    low, high = VARYING
    column = [
        value for other, value in values.items()
        if (other.attack, other.gradient) == (cell.attack, cell.gradient) and value.spread is not None
        and (other in sides or low <= (value.mean or 0.0) <= high)
    ]  # fmt: skip
    freedom = sum(len(value.percent) - 1 for value in column)
    squares = sum((value.spread or 0.0) ** 2 * (len(value.percent) - 1) for value in column)
    return squares / max(1, freedom), max(1, freedom)


def _between_images(sides: Sequence[Cell], seeds: Sequence[int], values: Values) -> tuple[float, int]:
    """Squared standard error, in points, of the mean difference per image, and how many images; 0 where it is no accuracy.

    Two imagined images that differ in both ways, half each, keep it from zero where all agree; four for a single share.
    SOURCE: Agresti and Min 2005; Agresti and Coull 1998.
    """
    stood = [[values[side].flags.get(seed) for seed in seeds] for side in sides]
    if any(flags is None for side in stood for flags in side):
        return 0.0, 0
    shares = [[mean(image) for image in zip(*(f.values for f in side if f is not None), strict=True)] for side in stood]
    if len(shares) == 2:
        per_image, imagined, squares = [a - b for a, b in zip(*shares, strict=True)], 2, 1.0
    else:
        per_image, imagined, squares = [share - 0.5 for share in shares[0]], 4, 4 * 0.25
    count = len(per_image) + imagined
    variance = (sum(d * d for d in per_image) + squares) / count - (sum(per_image) / count) ** 2
    return 100**2 * variance / count, count


def _said(pair: Pair, values: Values) -> str:
    return f"{_side(pair.more, values)} against {_side(pair.less, values)}"


def _side(side: Cell | float, values: Values) -> str:
    if not isinstance(side, Cell):
        return f"{side:g} %"
    setting, found = side.setting, values[side].mean
    rule = f"/{side.gradient}" if side.gradient else ""
    shown = "not measured" if found is None else f"{found:.1f} %"
    place = f"{setting.network} T{setting.steps or '?'} {setting.training} {setting.method}"
    return f"{place}{'' if setting.eta is None else f' eta {setting.eta:g}'} {side.attack}{rule} {shown}"
