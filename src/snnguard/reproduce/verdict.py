"""Whether a claim of a paper holds in our numbers.

A claim is pairs: this accuracy is larger than that one. The difference of a pair is taken over the seeds that both have, on
the same images. Its error has two parts: the images (standard error of the paired difference per image) and the trainings
(standard deviation over seeds, pooled over the networks of a column, since a few seeds alone say little of it). A pair holds if
the difference is above zero by more than its 95 % interval, and does not hold if it is below zero by more than that.
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
    """The claim with its verdict: it holds if every pair does, and does not if one does not."""
    found = [(pair, _pair(pair, values)) for pair in claim.pairs]
    against = [pair for pair, (verdict, _) in found if verdict == "does not hold"]
    unclear = [(pair, why) for pair, (verdict, why) in found if verdict == "cannot be told"]
    holding = len(found) - len(against) - len(unclear)
    counted = f"{holding} of {len(found)} comparisons hold, {len(against)} do not, {len(unclear)} cannot be told"
    verdict: comparison.Verdict = "does not hold" if against else "cannot be told" if unclear else "holds"
    if against:
        counted += f"; not: {_said(against[0], values)}"
    elif unclear:
        counted += f"; {unclear[0][1]}: {_said(unclear[0][0], values)}"
    return comparison.Claim(text=claim.text, source=claim.source, verdict=verdict, reason=counted)


def _pair(pair: Pair, values: Values) -> tuple[comparison.Verdict, str]:
    """Verdict, and what keeps from one."""
    sides = [side for side in (pair.more, pair.less) if isinstance(side, Cell)]
    seeds = sorted(set.intersection(*({*values[side].percent} for side in sides)))
    if not seeds:
        return "cannot be told", "not measured"
    if len(seeds) < 2:
        return "cannot be told", "one seed says nothing of another training"
    differences = [_percent(pair.more, seed, values) - _percent(pair.less, seed, values) for seed in seeds]
    difference, margin = mean(differences), _margin(sides, seeds, values)
    if difference > margin or (pair.never_less and difference >= 0):
        return "holds", ""
    if difference < -margin:
        return "does not hold", ""
    return "cannot be told", f"{difference:+.1f} points, interval ±{margin:.1f}"


def _percent(side: Cell | float, seed: int, values: Values) -> float:
    return values[side].percent[seed] if isinstance(side, Cell) else side


def _margin(sides: Sequence[Cell], seeds: Sequence[int], values: Values) -> float:
    """Half the 95 % interval of the difference, in points."""
    parts = [_between_seeds(side, values) for side in sides]
    trainings, freedom = sum(pooled for pooled, _ in parts) / len(seeds), max(known for _, known in parts)
    images, count = _between_images(sides, seeds, values)
    total = trainings + images
    if not total:
        return 0.0
    # SOURCE: Welch and Satterthwaite, degrees of freedom of a sum of two estimated variances.
    effective = total**2 / (trainings**2 / max(1, freedom) + images**2 / max(1, count - 1))
    return float(student.ppf((1 + CONFIDENCE) / 2, effective)) * math.sqrt(total)


def _between_seeds(cell: Cell, values: Values) -> tuple[float, int]:
    """Variance between trainings, pooled over the networks of the cell's column, and its degrees of freedom."""
    column = [v for c, v in values.items() if (c.attack, c.gradient) == (cell.attack, cell.gradient) and v.spread is not None]
    freedom = sum(len(value.percent) - 1 for value in column)
    squares = sum((value.spread or 0.0) ** 2 * (len(value.percent) - 1) for value in column)
    return (squares / freedom if freedom else 0.0), freedom


def _between_images(sides: Sequence[Cell], seeds: Sequence[int], values: Values) -> tuple[float, int]:
    """Squared standard error, in points, of the mean difference per image, and how many images; 0 where it is no accuracy."""
    stood = [[values[side].flags.get(seed) for seed in seeds] for side in sides]
    if any(flags is None for side in stood for flags in side):
        return 0.0, 0
    shares = [[mean(image) for image in zip(*(f.values for f in side if f is not None), strict=True)] for side in stood]
    per_image = [a - b for a, b in zip(*shares, strict=True)] if len(shares) == 2 else shares[0]
    return ((100 * stdev(per_image)) ** 2 / len(per_image) if len(per_image) > 1 else 0.0), len(per_image)


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
