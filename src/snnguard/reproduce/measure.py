"""From the name of a column to how it is measured: an attack of a suite, or a reading of the record."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from statistics import NormalDist
from typing import Any

from snnguard.attacks import APGD, CW, PGD, Attack, GaussianNoise, InputGradient, UniformNoise, bim, fgsm, rfgsm
from snnguard.attacks.multi_targeted import mt_pgd
from snnguard.errors import RequestError
from snnguard.evaluation import Attacker, Suite
from snnguard.evaluation.suite import Entry
from snnguard.evaluation.suites import PAPER_STEP
from snnguard.neurons import BPTT, GradientRule, RateGradient
from snnguard.record import LOGGED_EDGES, Flags, Record

RULES: dict[str, GradientRule] = {"bptt": BPTT(), "bptr": RateGradient()}
"""DEVIATION: the paper's BPTR is taken as RGA's rate gradient; its text describes a constant slope and cites RGA."""

ROUGHNESS = "roughness"
"""The column of `landscape.py`; measured beside the attacks and kept in the record's measures."""

ATTACK = re.compile(
    r"(?P<twin>twin:)?(?P<kind>fgsm|rfgsm|pgd|bim|cw|mtpgd|apgd|gaussian|uniform)(?P<size>[\d.]+)?(?:@(?P<eps>.+))?"
)


def is_attack(column: str) -> bool:
    return ATTACK.fullmatch(column) is not None


def entry(column: str, gradient: str, attacker: Attacker) -> Entry:
    """The attack that a column names: `pgd7`, `pgd4@0.5` (radius in multiples of eps, or `range`), `twin:cw` (crafted on
    the substitute). Iterative ones stop at the first success, so they are never weaker than the papers' last iterate.
    """
    found = ATTACK.fullmatch(column)
    if found is None:
        raise RequestError(f"no attack is called {column!r}")
    radius = None if found["eps"] == "range" else float(found["eps"] or 1)
    # A substitute is attacked through its own surrogate, a network through the attacker's choice.
    rule = None if found["twin"] else RULES.get(gradient)
    attack = _attack(found["kind"], found["size"], attacker.gradient(rule), early=attacker.early)
    return Entry(name=entry_name(column, gradient), attack=attack, radius=radius, substitute="twin" if found["twin"] else "")


def entry_name(column: str, gradient: str) -> str:
    """As all suites name their attacks: `pgd-7/bptt`."""
    return re.sub(r"(?<=[a-z])(?=\d)", "-", column, count=1) + (f"/{gradient}" if gradient else "")


def _attack(kind: str, size: str | None, gradient: InputGradient, *, early: bool) -> Attack:
    steps = int(size) if size and size.isdigit() else 0
    made: dict[str, Callable[[], Attack]] = {
        "fgsm": lambda: fgsm(gradient=gradient),
        "rfgsm": lambda: rfgsm(gradient=gradient),
        "pgd": lambda: PGD(steps=steps, step_fraction=step(steps), early_stop=early, gradient=gradient),
        "bim": lambda: bim(steps=steps, step_fraction=step(steps), early_stop=early, gradient=gradient),
        "cw": lambda: CW(gradient=gradient),
        "mtpgd": lambda: mt_pgd(steps=steps, step_fraction=step(steps), gradient=gradient),
        "apgd": lambda: APGD(steps=steps, early_stop=early, gradient=gradient),
        "gaussian": lambda: GaussianNoise(std=float(size or 0)),
        "uniform": lambda: UniformNoise(radius=float(size or 0)),
    }
    return made[kind]()


def step(steps: int) -> float:
    """The papers' 0.01 at eps = 8/255, as a fraction of eps; longer where so few steps would not cross the ball."""
    return max(PAPER_STEP, 1 / steps)


def suite(name: str, columns: Sequence[tuple[str, str]], attacker: Attacker) -> Suite:
    """The attacks among `columns` (name and gradient), each once."""
    wanted = [pair for pair in dict.fromkeys(columns) if is_attack(pair[0])]
    return Suite(name=name, entries=tuple(entry(column, gradient, attacker) for column, gradient in wanted))


def flags(record: Record, column: str, gradient: str) -> Flags | None:
    """Which images stand, where the column is an accuracy."""
    if column == "clean":
        return record.clean
    return record.find(entry_name(column, gradient)).correct if is_attack(column) else None


def reading(record: Record, column: str) -> float | None:
    """A number, times 100, that is no accuracy: `proximal`, `check:CODE`, or `overlap@2/3`, `gaussian-fit@3/3` of an epoch.

    None where the check was not made or the training did not log it.
    """
    name, _, place = column.partition("@")
    if name.startswith("check:"):
        code = name.removeprefix("check:")
        if any(suspicion.code == code for suspicion in record.suspicions):
            return 0.0
        return 100.0 if any(suspicion.code == code for suspicion in record.passed) else None
    if name == "proximal":
        return 100 * _mean([membrane.proximal for membrane in record.membranes])
    if name == ROUGHNESS:
        return 100 * record.measures[ROUGHNESS]
    line = record.epochs[_epoch(place, len(record.epochs))] if record.epochs else {}
    if not _layers(line):
        return None
    if name == "gaussian-fit":
        return 100 * _mean([_distance_from_fit(line, layer) for layer in _layers(line)])
    return 100 * _mean([float(line[f"{name}.{layer}"]) for layer in _layers(line)])


def _epoch(place: str, epochs: int) -> int:
    """The index of the last epoch of a part of the training: `first`, `1/3`, `2/3`, `3/3`."""
    if place == "first":
        return 0
    part, of = (int(number) for number in place.split("/"))
    return max(1, math.ceil(part * epochs / of)) - 1


def _layers(line: Mapping[str, Any]) -> list[str]:
    return [name.removeprefix("histogram.") for name in line if name.startswith("histogram.")]


def _distance_from_fit(line: Mapping[str, Any], layer: str) -> float:
    """Total variation between the logged histogram and the Gaussian of the same mean and spread, in the same bins."""
    fit = NormalDist(float(line[f"mean.{layer}"]), max(1e-9, float(line[f"std.{layer}"])))
    inner = [fit.cdf(edge) for edge in LOGGED_EDGES[1:-1]]
    masses = [after - before for before, after in pairwise([0.0, *inner, 1.0])]
    counts = line[f"histogram.{layer}"]
    return sum((abs(count / sum(counts) - mass) for count, mass in zip(counts, masses, strict=True)), 0.0) / 2


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
