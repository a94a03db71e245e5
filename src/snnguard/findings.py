"""What analyses find, as plain numbers. Standard library only.

`Findings` is all that was asked about one network. It goes to JSON and comes back equal, and the figures of a report are made
from it alone. Layers are named by the path of their module, time steps are counted from 1, shares lie in [0, 1].
"""

import types
import typing
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Self

from snnguard.errors import RequestError
from snnguard.record import Curve, Interval, Provenance, read_json

SCHEMA = 1
Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True)
class StepMembrane:
    """Distribution of `u - threshold` in one layer at one time step, before the reset, over images and neurons.

    `counts` fill the bins between `edges`; what lies outside is in the outer bins. `window` is the half width of the
    surrogate's window, `overlap` the share of potentials inside it and `gaussian_overlap` that share under the normal
    distribution with the same mean and standard deviation. `proximal` is the share closer to the threshold than
    `proximal_band`. How normal it is: skewness and excess kurtosis (0 if normal), and the Kolmogorov-Smirnov distance to that
    normal distribution; None where the potentials do not vary.
    """

    layer: str
    step: int
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    mean: float
    std: float
    skewness: float | None
    excess_kurtosis: float | None
    ks_distance: float | None
    window: float
    overlap: float
    gaussian_overlap: float
    proximal: float
    proximal_band: float
    rate: float


@dataclass(frozen=True, kw_only=True)
class ChannelMoments:
    """Mean and standard deviation of `u - threshold` per step and channel, [T][C], beside what a theorem predicts.

    `predicted_std` is for currents that are independent from step to step, `repeated_std` for one that is the same in all of
    them. `departures` are those assumptions of the theorem that are known not to hold in this layer.
    """

    layer: str
    normalisation: str
    departures: tuple[str, ...]
    mean: Rows
    predicted_mean: Rows
    std: Rows
    predicted_std: Rows
    repeated_std: Rows


@dataclass(frozen=True, kw_only=True)
class Flips:
    """Spikes of one layer and step that noise of standard deviation `sigma` in the membranes of this layer turns over.

    By the distance |u - threshold| / sigma without noise, in bins between `edges`, the last of which takes what lies beyond:
    `counts` neurons, of which `flipped`, and `expected` by the sum of their Phi(-distance).
    """

    layer: str
    step: int
    sigma: float
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    flipped: tuple[int, ...]
    expected: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Patterns:
    """Firing patterns met in a ball around each image, at the image and at `samples` random points.

    `distinct` counts them for each image. `moved` is the largest change of an image's logits, in the Euclidean norm, and
    `changed` the mean share of a layer's spikes that differ from those at the image.
    """

    eps: float
    samples: int
    distinct: tuple[int, ...]
    moved: tuple[float, ...]
    changed: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class JacobianNorms:
    """Norms, one per image, of the derivative of the logits by the raw image that a gradient rule makes.

    `operator` is the largest Euclidean length that it gives to a change of length 1 in the `norm` of the threat, as found by
    power iteration: a lower bound under "linf", where finding the largest is hard.
    """

    rule: str
    norm: str
    frobenius: tuple[float, ...]
    spectral: tuple[float, ...]
    operator: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class GradientStatistics:
    """The input gradient of the loss under one rule: shares of entries, and of whole images, that are zero; norms per image."""

    rule: str
    zero_entries: float
    zero_images: float
    l1: tuple[float, ...]
    l2: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Surface:
    """Mean loss and accuracy at x + a * attack + b * random, [a][b], for the attack's direction under one rule.

    `along` has the a and `across` the b, in raw input units: both directions have length 1 in the norm of the threat.
    """

    rule: str
    eps: float
    along: tuple[float, ...]
    across: tuple[float, ...]
    loss: Rows
    accuracy: Rows


@dataclass(frozen=True, kw_only=True)
class StepSweep:
    """Accuracy under one attack against its number of steps; a sample that fell to fewer stays fallen."""

    name: str
    steps: tuple[int, ...]
    accuracy: tuple[Interval, ...]


@dataclass(frozen=True, kw_only=True)
class ConstantSweep:
    """Accuracy, clean and attacked anew, with one constant of all neurons changed after training, not retrained.

    `refused` says why there are no values, where the constant cannot be changed.
    """

    constant: str
    trained: float
    values: tuple[float, ...]
    clean: tuple[Interval, ...]
    attacked: tuple[Interval, ...]
    refused: str = ""


@dataclass(frozen=True, kw_only=True)
class Activity:
    """Spikes of one layer per image, over all time steps, and per neuron and step."""

    layer: str
    neurons: int
    spikes: float
    rate: float


@dataclass(frozen=True, kw_only=True)
class Operations:
    """Synaptic operations of one weighted layer per image: as it ran, and `dense` ones of the same layer in an ANN."""

    layer: str
    accumulations: float
    multiplications: float
    dense: float


@dataclass(frozen=True, kw_only=True)
class Energy:
    """Activity, operations, and a model of the energy that they take per image, in picojoules. It is no measurement."""

    activity: tuple[Activity, ...]
    operations: tuple[Operations, ...]
    accumulation_pj: float
    multiplication_pj: float
    spiking_pj: float
    ann_pj: float


@dataclass(frozen=True, kw_only=True)
class ClassRobustness:
    """Accuracy on the images of one class, clean and attacked, and what the attack makes of them, most frequent first."""

    label: str
    clean: Interval
    attacked: Interval
    confusions: tuple[tuple[str, int], ...]


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All that was asked about one network; what was not asked is empty."""

    name: str
    threat: dict[str, Any]
    images: int
    seed: int
    membranes: tuple[StepMembrane, ...] = ()
    moments: tuple[ChannelMoments, ...] = ()
    flips: tuple[Flips, ...] = ()
    patterns: tuple[Patterns, ...] = ()
    jacobians: tuple[JacobianNorms, ...] = ()
    gradients: tuple[GradientStatistics, ...] = ()
    surfaces: tuple[Surface, ...] = ()
    curves: tuple[Curve, ...] = ()
    steps: tuple[StepSweep, ...] = ()
    constants: tuple[ConstantSweep, ...] = ()
    energy: tuple[Energy, ...] = ()
    classes: tuple[ClassRobustness, ...] = ()
    provenance: Provenance | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; `from_json` gives back an equal value."""
        return {"schema": SCHEMA, "findings": asdict(self)}

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Raises `RequestError` if the data are no findings of this schema."""
        if not isinstance(data, dict) or data.get("schema") != SCHEMA or "findings" not in data:
            raise RequestError(f"these are no findings of schema {SCHEMA}; make some with: snnguard analyse RUN")
        try:
            found: Self = _typed(cls, data["findings"])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise RequestError(f"these findings are damaged or made by another version: {error!r}") from None
        return found

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads findings. Raises `RequestError` that names the file."""
        try:
            return cls.from_json(read_json(path))
        except RequestError as error:
            raise RequestError(f"{path}: {error}") from None


def _typed(kind: Any, value: Any) -> Any:
    """`value`, of plain JSON types, as what the annotation `kind` says: dataclasses and tuples at any depth."""
    if is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        if set(value) != {entry.name for entry in fields(kind)}:
            raise ValueError(f"{kind.__name__} has other fields than {', '.join(value)}")
        return kind(**{name: _typed(hints[name], entry) for name, entry in value.items()})
    parts = typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        each = parts[:1] * len(value) if parts[1:] == (...,) else parts
        return tuple(_typed(part, entry) for part, entry in zip(each, value, strict=True))
    if typing.get_origin(kind) is types.UnionType:
        return None if value is None else _typed(parts[0], value)
    return value
