"""All analyses of one network, by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from snnguard import pages, rng
from snnguard.attacks import PGD, InputGradient, check_labels, predict
from snnguard.choice import unknown
from snnguard.errors import InvalidInput, RequestError, UnknownName
from snnguard.findings import ConstantSweep, Findings
from snnguard.networks import SpikingClassifier
from snnguard.neurons import BPTT, neurons_of
from snnguard.threat import Threat

from .classes import class_robustness
from .constants import constant_sweep
from .distribution import membranes_over_time
from .energy import energy
from .flips import flips
from .gradients import gradient_statistics
from .jacobians import FixedPattern, jacobian_norms
from .moments import channel_moments
from .patterns import patterns
from .surfaces import surfaces
from .sweeps import attacked_images, curve, step_sweep

RADIUS_SHARES = (0.0, 0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0)
"""Radii of the sweep, as shares of the threat's eps."""

STEP_COUNTS = (0, 1, 2, 5, 10, 20, 50)
DECAYS = (0.25, 0.5, 0.75, 0.9, 1.0)
THRESHOLD_SHARES = (0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5)
STEP_SHARES = (0.25, 0.5, 1.0, 2.0, 4.0)
POINTS = 11
"""Along each direction of a surface."""

Report = Callable[[str, int, int], None]
"""Told the analysis that begins, how many are done, and how many there are."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is analysed: a network, raw images [N, C, H, W] with classes [N], and how it is attacked."""

    model: SpikingClassifier
    x: Tensor
    y: Tensor
    threat: Threat
    labels: Sequence[str]
    draws: int = 1
    seed: int = 0
    batch_size: int = 128

    @property
    def passes(self) -> dict[str, Any]:
        """What every analysis needs to know."""
        return {"seed": self.seed, "batch_size": self.batch_size}

    @property
    def attack(self) -> PGD:
        """The attack of the sweeps and of the classes."""
        return PGD(steps=20, early_stop=self.draws == 1, gradient=InputGradient(draws=self.draws))


def _membranes(s: Subject) -> Sequence[Any]:
    """potentials of each layer and step: histogram, normality, overlap with the window, share close to the threshold"""
    return membranes_over_time(s.model, s.x, **s.passes)


def _moments(s: Subject) -> Sequence[Any]:
    """means and variances per channel and step beside those of MPD-SGR's Theorem 1"""
    return channel_moments(s.model, s.x, **s.passes)


def _flips(s: Subject) -> Sequence[Any]:
    """spikes that noise in the membrane turns over, beside TGO's Theorem 1"""
    return flips(s.model, s.x, **s.passes)


def _patterns(s: Subject) -> Sequence[Any]:
    """firing patterns met in the ball, and within a tenth and a hundredth of its radius"""
    radii = (s.threat.eps / 100, s.threat.eps / 10, s.threat.eps)
    return [patterns(s.model, s.x, threat=s.threat.model_copy(update={"eps": eps}), **s.passes) for eps in radii]


def _jacobians(s: Subject) -> Sequence[Any]:
    """norms of the Jacobian of surrogate gradients, and of the affine map of the fixed firing pattern"""
    rules = {"bptt": BPTT(), "fixed pattern": FixedPattern()}
    return [
        jacobian_norms(s.model, s.x, threat=s.threat, rule=rule, name=name, draws=s.draws, **s.passes)
        for name, rule in rules.items()
    ]


def _gradients(s: Subject) -> Sequence[Any]:
    """zeros and norms of the input gradient under several gradient rules"""
    return gradient_statistics(s.model, s.x, s.y, draws=s.draws, **s.passes)


def _surfaces(s: Subject) -> Sequence[Any]:
    """the loss in the plane of the attack's and a random direction, for several gradient rules"""
    return surfaces(s.model, s.x, s.y, threat=s.threat, points=POINTS, draws=s.draws, **s.passes)


def _curves(s: Subject) -> Sequence[Any]:
    """accuracy under PGD against its radius"""
    radii = [share * s.threat.eps for share in RADIUS_SHARES]
    asked = {"attack": s.attack, "threat": s.threat, "draws": s.draws, **s.passes}
    return [curve(s.model, s.x, s.y, radii=radii, name="PGD-20", **asked)]


def _steps(s: Subject) -> Sequence[Any]:
    """accuracy under PGD against its number of steps"""
    asked = {"attack": s.attack, "threat": s.threat, "draws": s.draws, **s.passes}
    return [step_sweep(s.model, s.x, s.y, steps=STEP_COUNTS, name="PGD", **asked)]


def _constants(s: Subject) -> Sequence[Any]:
    """accuracy with another decay, threshold or number of steps after training"""
    neuron = next(iter(neurons_of(s.model).values()))
    steps = sorted({max(1, round(share * neuron.steps)) for share in STEP_SHARES})
    asked = {"decay": DECAYS, "threshold": [share * neuron.settings.threshold for share in THRESHOLD_SHARES], "steps": steps}
    sweep = partial(
        constant_sweep, s.model, s.x, s.y, attack=s.attack, threat=s.threat, draws=s.draws, seed=s.seed, batch_size=s.batch_size
    )  # fmt: skip
    found = []
    for constant, values in asked.items():
        try:
            found.append(sweep(constant=constant, values=values))
        except RequestError as error:
            trained = float(neuron.steps if constant == "steps" else getattr(neuron.settings, constant))
            none: dict[str, Any] = {"values": (), "clean": (), "attacked": ()}
            found.append(ConstantSweep(constant=constant, trained=trained, refused=str(error), **none))
    return found


def _energy(s: Subject) -> Sequence[Any]:
    """spikes, synaptic operations and a model of their energy, beside an ANN"""
    return [energy(s.model, s.x, **s.passes)]


def _classes(s: Subject) -> Sequence[Any]:
    """accuracy and confusions class by class under PGD"""
    x_adv = attacked_images(s.attack, s.model, s.x, s.y, threat=s.threat, **s.passes)
    with rng.scope(rng.derive(s.seed, "judgement")):
        before, after = (predict(s.model, images, draws=s.draws, batch_size=s.batch_size).argmax(1) for images in (s.x, x_adv))
    return class_robustness(s.y, before, after, s.labels)


ANALYSES: dict[str, Callable[[Subject], Sequence[Any]]] = {
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
"""Each by the name of its field in `Findings`."""


@pages.kept()
def analyse(subject: Subject, *, name: str, what: Sequence[str] = (), report: Report | None = None) -> Findings:
    """The analyses called `what` (none: all of them) of one network, called `name` in the findings.

    Raises `UnknownName` for one that does not exist, and `InvalidInput` for images or a network that cannot be analysed.
    """
    for asked in what:
        if asked not in ANALYSES:
            raise UnknownName(unknown("analysis", asked, ANALYSES))
    subject.threat.check(subject.x)
    check_labels(subject.x, subject.y, len(subject.labels))
    if len(subject.x) == 0 or not neurons_of(subject.model):
        raise InvalidInput(f"an analysis needs images and a network of spiking neurons; found {len(subject.x)} images")
    chosen = [entry for entry in ANALYSES if entry in what or not what]
    found: dict[str, Any] = {}
    for done, entry in enumerate(chosen):
        if report is not None:
            report(entry, done, len(chosen))
        found[entry] = tuple(ANALYSES[entry](subject))
    return Findings(name=name, threat=subject.threat.to_json(), images=len(subject.x), seed=subject.seed, **found)
