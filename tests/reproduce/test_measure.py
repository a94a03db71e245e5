"""Columns: the attack that a name stands for, and the readings that are no attack."""

import math
from dataclasses import replace
from statistics import NormalDist

import pytest
import torch

from snnguard import reproduce
from snnguard.attacks import APGD, CW, PGD, GaussianNoise
from snnguard.evaluation import Attacker
from snnguard.neurons import BPTT, RateGradient
from snnguard.record import LOGGED_EDGES, Flags, Provenance, Record, Suspicion
from snnguard.reproduce import measure
from snnguard.threat import Linf

ATTACKER = Attacker()


def attack(column: str, gradient: str = "bptt") -> object:
    return measure.entry(column, gradient, ATTACKER).attack


def test_names_of_attacks() -> None:
    seven = attack("pgd7")
    assert isinstance(seven, PGD)
    assert (seven.steps, seven.random_start, seven.gradient.rule) == (7, True, BPTT())
    assert seven.step_fraction * 8 / 255 == pytest.approx(0.01)  # the papers' step
    rate = attack("bim7", "bptr")
    assert isinstance(rate, PGD)
    assert (rate.steps, rate.random_start, rate.gradient.rule) == (7, False, RateGradient())
    assert isinstance(attack("cw"), CW)
    assert attack("gaussian0.1") == GaussianNoise(std=0.1)
    found = attack("apgd40")
    assert isinstance(found, APGD)
    assert found.steps == 40
    assert attack("mtpgd7").to_json()["attack"]["steps"] == 7  # type: ignore[attr-defined]
    one = attack("pgd1")
    assert isinstance(one, PGD)
    assert one.step_fraction == 1  # a single step crosses the ball


def test_results_are_named_as_in_all_suites() -> None:
    """The suspicions look for these names."""
    names = [measure.entry_name(column, "bptt") for column in ("pgd7", "fgsm", "pgd4@0.5", "twin:pgd7", "cw", "gaussian0.1")]
    assert names == ["pgd-7/bptt", "fgsm/bptt", "pgd-4@0.5/bptt", "twin:pgd-7/bptt", "cw/bptt", "gaussian-0.1/bptt"]


def test_what_was_not_logged_is_not_read() -> None:
    assert measure.reading(record(epochs=({"loss": 1.0},)), "mean@3/3") is None
    assert measure.reading(record(), "gaussian-fit@first") is None


def test_radii_and_substitutes() -> None:
    assert measure.entry("pgd4@0.5", "bptt", ATTACKER).radius == 0.5
    assert measure.entry("pgd20@range", "bptt", ATTACKER).radius is None
    twin = measure.entry("twin:fgsm", "bptt", ATTACKER)
    assert twin.substitute == "twin"
    assert twin.gradient is not None
    assert twin.gradient.rule is None


def test_every_column_of_every_table_is_an_attack_or_a_reading() -> None:
    readings = ("clean", "proximal", "roughness", "check:", "mean@", "std@", "overlap@", "gaussian-fit@")
    for name in reproduce.names():
        for cell in reproduce.get(name).cells:
            assert measure.is_attack(cell.attack) or cell.attack.startswith(readings), cell.attack
            if measure.is_attack(cell.attack):
                measure.entry(cell.attack, cell.gradient, ATTACKER)


def record(**given: object) -> Record:
    where = Provenance(
        command="", created="", commit="", versions={}, hardware="", recipe={}, data="", weights="", seed=0
    )  # fmt: skip
    made = {
        "name": "n", "threat": Linf(eps=0.1).to_json(), "suite": "s", "labels": (), "clean": Flags((True, False)),
        "attacks": (), "suspicions": (), "provenance": where,
    }  # fmt: skip
    return Record(**{**made, **given})  # type: ignore[arg-type]


def lines(mean: float, std: float, samples: torch.Tensor) -> dict[str, object]:
    counts = torch.histc(samples.clamp(-3.99, 3.99), 40, -4, 4)
    return {
        "mean.a": mean,
        "std.a": std,
        "overlap.a": 0.25,
        "histogram.a": [round(1000 * float(c) / len(samples)) for c in counts],
    }


def test_distance_from_the_gaussian_fit() -> None:
    """Of Gaussian samples nearly 0; of two points, whose fit has a known mass in their two bins, all of the rest."""
    normal = torch.tensor([NormalDist(0.3, 0.8).inv_cdf((i + 0.5) / 100_000) for i in range(100_000)])
    fine = record(epochs=(lines(0.3, 0.8, normal),))
    assert measure.reading(fine, "gaussian-fit@3/3") < 1
    points = torch.tensor([-1.1, 1.1]).repeat(500)
    coarse = record(epochs=(lines(0.0, 1.1, points),))
    fit = NormalDist(0, 1.1)
    inside = 2 * (fit.cdf(1.2) - fit.cdf(1.0))
    assert measure.reading(coarse, "gaussian-fit@first") == pytest.approx(100 * (1 - inside), abs=0.1)
    assert len(LOGGED_EDGES) == 41


def test_epochs_are_the_ends_of_thirds() -> None:
    epochs = tuple({"mean.a": float(i), "histogram.a": [1]} for i in range(8))
    found = [measure.reading(record(epochs=epochs), f"mean@{place}") / 100 for place in ("first", "1/3", "2/3", "3/3")]
    assert found == [0, 2, 5, 7]
    [only] = {measure.reading(record(epochs=epochs[:1]), f"mean@{place}") for place in ("first", "1/3", "3/3")}
    assert only == 0


def test_a_check_passes_where_its_suspicion_was_not_raised() -> None:
    raised = Suspicion(code="fgsm-beats-pgd", message="", measured=1, limit=0)
    found = record(suspicions=(raised,))
    assert measure.reading(found, "check:fgsm-beats-pgd") == 0
    assert measure.reading(found, "check:black-box-stronger") is None  # it was not made
    passed = replace(raised, code="black-box-stronger", measured=0)
    assert measure.reading(record(passed=(passed,)), "check:black-box-stronger") == 100
    assert math.isclose(measure.reading(record(measures={"roughness": 0.5}), "roughness"), 50)
