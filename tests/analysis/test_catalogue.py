"""All analyses together: what they return, what they leave alone, what they refuse."""

import json
import random

import pytest
import torch

from snnguard.analysis import ANALYSES, Subject, analyse
from snnguard.encoders import Poisson
from snnguard.errors import InvalidInput, UnknownName
from snnguard.findings import Findings
from snnguard.neurons import LIF, MembraneNoise, dlif, neurons_of
from snnguard.threat import L2, Linf

LABELS = ("a", "b", "c", "d")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Few points on every axis."""
    few = {"RADIUS_SHARES": (0.0, 1.0), "STEP_COUNTS": (0, 3), "DECAYS": (0.5,), "THRESHOLD_SHARES": (0.7,), "POINTS": 3}
    for name, values in {**few, "STEP_SHARES": (2.0,)}.items():
        monkeypatch.setattr(f"snnguard.analysis.catalogue.{name}", values)


def subject(model, x, **settings):
    y = torch.arange(len(x)) % 4
    return Subject(**{"model": model, "x": x, "y": y, "threat": Linf(eps=0.05), "labels": LABELS, **settings})


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        ({}, {}),
        ({"encoder": Poisson()}, {"draws": 2}),
        ({"neuron": LIF(reset="subtract", traits=(MembraneNoise(inference=True),))}, {"threat": L2(eps=0.3), "draws": 2}),
    ],
    ids=["plain", "random input", "random neurons"],
)
def test_everything_at_once_repeats_and_leaves_no_trace(network, images, settings, asked):
    model = network(**settings).train()
    model.body[0].eval()
    before = [module.training for module in model.modules()]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    generators = torch.get_rng_state(), random.getstate()
    told = []
    found = analyse(subject(model, images(5), **asked), name="net", report=lambda *now: told.append(now))
    assert told == [(name, i, len(ANALYSES)) for i, name in enumerate(ANALYSES)]
    assert [module.training for module in model.modules()] == before
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert random.getstate() == generators[1]
    assert all(not neuron.watch and not neuron._forward_pre_hooks for neuron in neurons_of(model).values())
    assert all(getattr(found, name) for name in ANALYSES)
    text = json.dumps(found.to_json(), allow_nan=False)
    assert Findings.from_json(json.loads(text)) == found
    some = ("flips", "surfaces", "classes")
    again = analyse(subject(model, images(5), **asked), name="net", what=some)
    assert all(getattr(again, name) == (getattr(found, name) if name in some else ()) for name in ANALYSES)


def test_the_numbers_do_not_depend_on_the_batches(network, images):
    model = network()
    what = ("membranes", "moments", "patterns", "jacobians", "gradients", "energy", "classes", "constants")
    one, other = (analyse(subject(model, images(6), batch_size=size), name="n", what=what) for size in (2, 6))

    def numbers(value):
        if isinstance(value, dict):
            return [n for entry in value.values() for n in numbers(entry)]
        if isinstance(value, list):
            return [n for entry in value for n in numbers(entry)]
        return [value] if isinstance(value, int | float) else []

    found = [numbers(json.loads(json.dumps(part.to_json()))) for part in (one, other)]
    assert len(found[0]) > 1000
    assert found[0] == pytest.approx(found[1], rel=1e-3, abs=1e-4)


def test_a_constant_that_cannot_be_changed_says_why(network, images):
    found = analyse(subject(network(neuron=dlif()), images(4)), name="n", what=["constants"])
    decay, threshold, steps = found.constants
    assert (steps.constant, steps.trained, steps.values) == ("steps", 3.0, ())
    assert "step-gain" in steps.refused
    assert decay.values
    assert threshold.values
    assert not threshold.refused


def test_requests_that_cannot_be_met(network, images):
    with pytest.raises(UnknownName, match="unknown analysis 'membrane'; did you mean 'membranes'"):
        analyse(subject(network(), images(2)), name="n", what=["energy", "membrane"])
    with pytest.raises(InvalidInput, match="found 0 images"):
        analyse(subject(network(), images(0)), name="n")
    with pytest.raises(InvalidInput, match="spiking neurons"):
        analyse(subject(network(spiking=False), images(2)), name="n")
    with pytest.raises(InvalidInput, match="must lie in"):
        analyse(subject(network(), 3 * images(2)), name="n")
    with pytest.raises(InvalidInput, match="classes 0 to 1"):
        analyse(subject(network(), images(4), labels=("a", "b")), name="n")
