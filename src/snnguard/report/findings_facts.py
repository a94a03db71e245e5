"""What an analysis came to, in sentences, from its findings alone."""

from collections.abc import Callable
from statistics import median

from snnguard.findings import Findings
from snnguard.record import Interval


def _membranes(f: Findings) -> list[str]:
    shaped = [one for one in f.membranes if one.ks_distance is not None]
    overlap = sum(one.overlap for one in f.membranes) / len(f.membranes)
    proximal = sum(one.proximal for one in f.membranes) / len(f.membranes)
    lines = [
        f"{_share(overlap)} of the potentials lie inside the surrogate window, {_share(proximal)} within "
        f"{f.membranes[0].proximal_band:g} of the threshold (mean over layers and steps)"
    ]
    if shaped:
        worst = max(shaped, key=lambda one: one.ks_distance or 0)
        lines.append(f"farthest from normal: {worst.layer} at step {worst.step} (distance {worst.ks_distance:.3f})")
    return lines


def _moments(f: Findings) -> list[str]:
    lines = []
    for one in f.moments:
        off = [_gap(one.mean[-1], one.predicted_mean[-1]), _gap(one.std[-1], one.predicted_std[-1])]
        but = f"; the theorem does not know: {', '.join(one.departures)}" if one.departures else ""
        lines.append(f"{one.layer}, last step: off by {off[0]:.3g} in the mean, by {off[1]:.3g} in the spread{but}")
    return lines


def _gap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)


def _flips(f: Findings) -> list[str]:
    lines = []
    for step in dict.fromkeys((1, max(one.step for one in f.flips))):
        these = [one for one in f.flips if one.step == step]
        flipped, expected = sum(sum(one.flipped) for one in these), sum(sum(one.expected) for one in these)
        lines.append(
            f"step {step}: {flipped:,} spikes turned over by noise of {these[0].sigma:g}, {expected:,.0f} by the theorem"
        )
    return lines


def _patterns(f: Findings) -> list[str]:
    return [
        f"eps {one.eps:.3g}: {sum(one.distinct) / len(one.distinct):.1f} patterns at {one.samples + 1} points, "
        f"{_share(sum(one.changed.values()) / max(1, len(one.changed)))} of the spikes changed"
        for one in f.patterns
    ]


def _jacobians(f: Findings) -> list[str]:
    return [f"{one.rule}: median spectral norm {median(one.spectral):.3g}" for one in f.jacobians]


def _gradients(f: Findings) -> list[str]:
    return [
        f"{one.rule}: {_share(one.zero_entries)} of the entries are zero, {_share(one.zero_images)} of the images have no "
        f"gradient, median L2 norm {median(one.l2):.3g}"
        for one in f.gradients
    ]


def _surfaces(f: Findings) -> list[str]:
    middle = len(f.surfaces[0].across) // 2
    return [
        f"{one.rule}: loss {one.loss[middle][middle]:.3g} at the images, {one.loss[-1][middle]:.3g} at eps along the attack, "
        f"{one.loss[middle][-1]:.3g} along a random direction"
        for one in f.surfaces
    ]


def _curves(f: Findings) -> list[str]:
    eps = f.threat.get("eps", 0)
    return [
        f"{one.name}: {_accuracy(share)} at eps {radius:.3g}"
        for one in f.curves
        for radius, share in zip(one.eps, one.accuracy, strict=True)
        if radius in (0, eps)
    ]


def _steps(f: Findings) -> list[str]:
    return [
        f"{one.name}: {_accuracy(one.accuracy[-2])} after {one.steps[-2]} steps, {_accuracy(one.accuracy[-1])} "
        f"after {one.steps[-1]}"
        for one in f.steps
        if len(one.steps) > 1
    ]


def _constants(f: Findings) -> list[str]:
    lines = []
    for one in f.constants:
        if one.refused:
            lines.append(f"{one.constant}: {one.refused}")
            continue
        best, value = max(zip((share.point for share in one.attacked), one.values, strict=True))
        lines.append(f"{one.constant} (trained with {one.trained:g}): best under attack at {value:g}, {_share(best)}")
    return lines


def _energy(f: Findings) -> list[str]:
    return [
        f"{one.spiking_pj / 1000:,.4g} nJ per image, {one.ann_pj / 1000:,.4g} nJ for the same network as an ANN; "
        f"{sum(part.spikes for part in one.activity):,.0f} spikes"
        for one in f.energy
    ]


def _classes(f: Findings) -> list[str]:
    weakest = sorted(f.classes, key=lambda one: one.attacked.point)[:3]
    return [
        f"{one.label}: {_share(one.clean.point)} clean, {_share(one.attacked.point)} attacked"
        + (f", mostly taken for {', '.join(f'{name} ({count})' for name, count in one.confusions)}" if one.confusions else "")
        for one in weakest
    ]


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _accuracy(interval: Interval) -> str:
    return f"{_share(interval.point)} ({100 * interval.low:.1f}–{100 * interval.high:.1f})"


FACTS: dict[str, Callable[[Findings], list[str]]] = {
    "membranes": _membranes,
    "moments": _moments,
    "flips": _flips,
    "patterns": _patterns,
    "jacobians": _jacobians,
    "gradients": _gradients,
    "surfaces": _surfaces,
    "curves": _curves,
    "steps": _steps,
    "constants": _constants,
    "energy": _energy,
    "classes": _classes,
}
"""By the field of the findings that they are about."""


def facts(findings: Findings) -> dict[str, tuple[str, ...]]:
    """What each analysis came to, in a sentence or a few; only those that were asked."""
    return {name: tuple(say(findings)) for name, say in FACTS.items() if getattr(findings, name)}
