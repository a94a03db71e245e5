"""Figures of an analysis, made from findings alone; what a theory predicts is dashed."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go

from snnguard.findings import (
    Activity,
    ChannelMoments,
    ClassRobustness,
    ConstantSweep,
    Energy,
    Flips,
    GradientStatistics,
    JacobianNorms,
    Patterns,
    StepMembrane,
    StepSweep,
    Surface,
)
from snnguard.record import Curve, Interval

from .figures import GREY, as_text, blank, colour, faint, marker, percent, whiskers


def membranes(found: Sequence[StepMembrane]) -> list[go.Figure]:
    """For each layer the steps laid over each other with their Gaussians; then, against the step, what they come to."""
    layers = dict.fromkeys(one.layer for one in found)
    figures = [_histograms([one for one in found if one.layer == layer]) for layer in layers]
    for title, unit, values in (
        ("Distance from a normal distribution", "Kolmogorov-Smirnov distance", [one.ks_distance for one in found]),
        ("Potentials inside the surrogate window", "share (%)", [percent(one.overlap) for one in found]),
        ("Potentials close to the threshold", "share (%)", [percent(one.proximal) for one in found]),
    ):
        figure = blank(title, "time step", unit)
        for index, layer in enumerate(layers):
            points = [(one.step, value) for one, value in zip(found, values, strict=True) if one.layer == layer]
            _line(figure, index, as_text(layer), [x for x, _ in points], [y for _, y in points])
        figure.update_yaxes(rangemode="tozero")
        figure.update_xaxes(tickformat="d")
        figures.append(figure)
    return figures


def _histograms(steps: Sequence[StepMembrane]) -> go.Figure:
    figure = blank(as_text(steps[0].layer), "membrane potential − threshold", "density")
    for index, one in enumerate(steps):
        edges, total = one.edges, sum(one.counts) or 1
        centres = [(a + b) / 2 for a, b in pairwise(edges)]
        density = [n / total / (b - a) for n, (a, b) in zip(one.counts, pairwise(edges), strict=True)]
        _line(figure, index, f"t = {one.step}", centres[1:-1], density[1:-1], markers=False)
        if one.std > 0:
            bell = [math.exp(-(((x - one.mean) / one.std) ** 2) / 2) / (one.std * math.sqrt(2 * math.pi)) for x in centres]
            _line(figure, index, f"t = {one.step}", centres, bell, predicted=True)
    if math.isfinite(steps[0].window):
        figure.add_vrect(x0=-steps[0].window, x1=steps[0].window, fillcolor=GREY, line={"width": 0}, layer="below")
    figure.add_vline(x=0, line={"width": 1, "color": "gray", "dash": "dot"})
    figure.update_xaxes(range=[steps[0].edges[0], steps[0].edges[-1]])
    return figure


def moments(found: Sequence[ChannelMoments]) -> list[go.Figure]:
    """Means over the channels against the step, measured and predicted."""
    figures = []
    for title, measured, predicted in (
        ("Mean of the potential − threshold", "mean", "predicted_mean"),
        ("Standard deviation of the potential", "std", "predicted_std"),
    ):
        figure = blank(title, "time step", "mean over channels")
        for index, one in enumerate(found):
            rows, theory = ([sum(row) / len(row) for row in getattr(one, name)] for name in (measured, predicted))
            steps = list(range(1, len(rows) + 1))
            _line(figure, index, as_text(one.layer), steps, rows)
            _line(figure, index, as_text(one.layer), steps, theory, predicted=True)
        figures.append(figure)
    return figures


def flips(found: Sequence[Flips]) -> list[go.Figure]:
    """The share of spikes turned over against the distance, at the first step and at the last; dashed, by the theorem."""
    last = max(one.step for one in found)
    layers = list(dict.fromkeys(one.layer for one in found))
    figures = []
    for step in dict.fromkeys((1, last)):
        figure = blank(f"Spikes that noise turns over, step {step}", "|potential − threshold| / sigma", "share (%)")
        for one in (one for one in found if one.step == step):
            index = layers.index(one.layer)
            full = [i for i, count in enumerate(one.counts) if count]
            x = [(one.edges[i] + one.edges[i + 1]) / 2 for i in full]
            _line(figure, index, as_text(one.layer), x, [100 * one.flipped[i] / one.counts[i] for i in full])
            _line(figure, index, as_text(one.layer), x, [100 * one.expected[i] / one.counts[i] for i in full], predicted=True)
        figures.append(figure)
    return figures


def patterns(found: Sequence[Patterns]) -> list[go.Figure]:
    """How many patterns an image meets, and which share of each layer's spikes changes, for each radius."""
    names = [f"eps = {one.eps:.3g}" for one in found]
    counts = blank("Firing patterns met per image", "radius eps (input units)", "patterns")
    shares = blank("Spikes that differ from those at the image", "", "share (%)")
    for index, (name, one) in enumerate(zip(names, found, strict=True)):
        _box(counts, index, name, one.distinct)
        layers = [as_text(layer) for layer in one.changed]
        _bars(shares, index, name, layers, [percent(share) for share in one.changed.values()])
    return [counts, shares]


def jacobians(found: Sequence[JacobianNorms]) -> list[go.Figure]:
    """Spectral norms, and norms for the threat, of all images."""
    figures = []
    norm = found[0].norm
    for title, name in (("Spectral norm", "spectral"), (f"Norm from {as_text(norm)} to the Euclidean one", "operator")):
        figure = blank(f"{title} of the map from image to logits", "", "norm, one per image")
        for index, one in enumerate(found):
            _box(figure, index, as_text(one.rule), getattr(one, name))
        figure.update_yaxes(rangemode="tozero")
        figures.append(figure)
    return figures


def gradients(found: Sequence[GradientStatistics]) -> list[go.Figure]:
    """Zeros and norms of the input gradient, rule by rule."""
    zeros, norms = blank("Zeros in the input gradient", "", "share (%)"), blank("L2 norm of the input gradient", "", "norm")
    rules = [as_text(one.rule) for one in found]
    _bars(zeros, 0, "entries", rules, [percent(one.zero_entries) for one in found])
    _bars(zeros, 1, "whole images", rules, [percent(one.zero_images) for one in found])
    for index, one in enumerate(found):
        _box(norms, index, as_text(one.rule), one.l2)
    if all(value > 0 for one in found for value in one.l2):
        norms.update_yaxes(type="log")
    return [zeros, norms]


def surfaces(found: Sequence[Surface]) -> list[go.Figure]:
    """The loss in the plane, one map per rule, all with the same colours."""
    losses = [loss for one in found for row in one.loss for loss in row]
    figures = []
    for one in found:
        figure = blank(f"Loss, direction of {as_text(one.rule)}", "along the attack (input units)", "along a random direction")
        across = [list(column) for column in zip(*one.loss, strict=True)]  # plotly wants [y][x]
        bar = {"title": {"text": "loss"}, "thickness": 12}
        hover = "%{x:.3g}, %{y:.3g}: %{z:.4g}<extra></extra>"
        figure.add_contour(
            x=one.along,
            y=one.across,
            z=across,
            zmin=min(losses),
            zmax=max(losses),
            colorscale="Viridis",
            colorbar=bar,
            hovertemplate=hover,
        )
        figures.append(figure)
    return figures


def curves(found: Sequence[Curve]) -> list[go.Figure]:
    """Accuracy against the radius."""
    figure = blank("Accuracy against radius", "radius eps (input units)", "accuracy (%)")
    for index, one in enumerate(found):
        _banded(figure, index, as_text(one.name), one.eps, one.accuracy)
    return [figure]


def steps(found: Sequence[StepSweep]) -> list[go.Figure]:
    """Accuracy against the number of steps."""
    figure = blank("Accuracy against the steps of the attack", "steps", "accuracy (%)")
    for index, one in enumerate(found):
        _banded(figure, index, as_text(one.name), one.steps, one.accuracy)
    return [figure]


def constants(found: Sequence[ConstantSweep]) -> list[go.Figure]:
    """Clean and attacked accuracy against each constant; dotted, the one of training."""
    figures = []
    for one in found:
        if one.values:
            name = as_text(one.constant)
            figure = blank(f"Accuracy against the {name} after training", name, "accuracy (%)")
            _banded(figure, 0, "clean", one.values, one.clean)
            _banded(figure, 1, "attacked", one.values, one.attacked)
            figure.add_vline(x=one.trained, line={"width": 1, "color": "gray", "dash": "dot"})
            figures.append(figure)
    return figures


def energy(found: Sequence[Energy]) -> list[go.Figure]:
    """Energy by layer, spiking and as an ANN, and firing rates."""
    figures = []
    for one in found:
        figure = blank("Modelled energy per image", "", "nJ")
        layers = [as_text(part.layer) for part in one.operations]
        series = (
            ("accumulations", [part.accumulations * one.accumulation_pj for part in one.operations]),
            ("multiplications", [part.multiplications * one.multiplication_pj for part in one.operations]),
            ("the same layer in an ANN", [part.dense * one.multiplication_pj for part in one.operations]),
        )
        for index, (name, values) in enumerate(series):
            _bars(figure, index, name, layers, [value / 1000 for value in values])
        figures += [figure, _rates(one.activity)]
    return figures


def _rates(found: Sequence[Activity]) -> go.Figure:
    figure = blank("Firing rate", "", "spikes per neuron and step")
    _bars(figure, 0, "rate", [as_text(one.layer) for one in found], [one.rate for one in found])
    return figure


def classes(found: Sequence[ClassRobustness]) -> list[go.Figure]:
    """Clean and attacked accuracy of each class."""
    figure = blank("Accuracy by class", "", "accuracy (%)")
    labels = [as_text(one.label) for one in found]
    for index, name in enumerate(("clean", "attacked")):
        shares: list[Interval] = [getattr(one, name) for one in found]
        _bars(figure, index, name, labels, [percent(share.point) for share in shares], shares)
    figure.update_yaxes(range=[0, 102])
    return [figure]


def _line(
    figure: go.Figure, index: int, name: str, x: Sequence[float], y: Sequence[float | None], *, predicted: bool = False,
    markers: bool = True,
) -> None:  # fmt: skip
    figure.add_scatter(
        x=x, y=y, name=name, legendgroup=name, showlegend=not predicted,
        mode="lines+markers" if markers and not predicted else "lines",
        line={"color": colour(index), "width": 2, "dash": "dash" if predicted else "solid"}, marker=marker(index),
        hovertemplate=f"%{{x:.3g}}: %{{y:.4g}}<extra>{name}{', predicted' if predicted else ''}</extra>",
    )  # fmt: skip


def _banded(figure: go.Figure, index: int, name: str, x: Sequence[float], shares: Sequence[Interval]) -> None:
    hidden = {"legendgroup": name, "showlegend": False, "hoverinfo": "skip", "mode": "lines"}
    for bound, fill in (("high", {}), ("low", {"fill": "tonexty", "fillcolor": faint(index, alpha=0.18)})):
        y = [percent(getattr(share, bound)) for share in shares]
        figure.add_scatter(x=x, y=y, line={"width": 0, "color": colour(index)}, **hidden, **fill)
    _line(figure, index, name, x, [percent(share.point) for share in shares])
    figure.update_yaxes(range=[0, 102])


def _bars(
    figure: go.Figure, index: int, name: str, x: Sequence[str], y: Sequence[float | None], shares: Sequence[Interval] = ()
) -> None:
    error = {"error_y": whiskers(shares)} if shares else {}
    figure.update_yaxes(rangemode="tozero")
    figure.add_bar(x=x, y=y, name=name, marker={"color": colour(index)}, **error)
    figure.update_xaxes(type="category")


def _box(figure: go.Figure, index: int, name: str, values: Sequence[float]) -> None:
    figure.add_box(y=values, name=name, marker={"color": colour(index)}, boxpoints=False)


FIGURES: dict[str, Callable[[Any], list[go.Figure]]] = {
    "membranes": membranes,
    "moments": moments,
    "flips": flips,
    "patterns": patterns,
    "jacobians": jacobians,
    "gradients": gradients,
    "surfaces": surfaces,
    "curves": curves,
    "steps": steps,
    "constants": constants,
    "energy": energy,
    "classes": classes,
}
"""By the field of the findings that they draw, which is not empty."""
