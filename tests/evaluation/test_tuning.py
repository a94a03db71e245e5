"""What the attacker finds out on images that are not judged."""

import copy
import json
import math

import pytest
import torch
from torch import Tensor, nn

from snnguard.data import Dataset
from snnguard.errors import InvalidInput
from snnguard.evaluation import Attacker, Tuning, tune, tuning
from snnguard.evaluation.suite import rule_name
from snnguard.networks import build
from snnguard.neurons import ASSG, BPTT, HART, PDSG, ATan, FiredMask, RateGradient, Triangle, neurons_of
from snnguard.threat import Linf

EPS = Linf(eps=0.1)
IMAGES, STEPS = 6, 4
CANDIDATES = [
    *(ASSG(share=share) for share in (0.35, 0.4, 0.425, 0.45, 0.475)), *(HART(gamma=gamma) for gamma in (0.5, 1.0, 2.0)),
    BPTT(), BPTT(surrogate=ATan(alpha=2)), BPTT(surrogate=Triangle(gamma=0.5)), RateGradient(), PDSG(), FiredMask(),
]  # fmt: skip


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tuning.STEPS == 20
    monkeypatch.setattr(tuning, "STEPS", STEPS)


def held_out(faked: Dataset) -> tuple[Tensor, Tensor]:
    return faked.validation.pixels(torch.arange(IMAGES)), faked.validation.labels[:IMAGES]


@pytest.fixture(scope="module")
def narrow(trained: nn.Module) -> nn.Module:
    """A surrogate so narrow that hardly any potential lies in its window: its own gradient leads nowhere."""
    model = copy.deepcopy(trained)
    for neuron in neurons_of(model).values():
        neuron.settings = neuron.settings.model_copy(update={"surrogate": Triangle(gamma=0.01)})
    return model


def test_the_best_rule_of_a_narrow_surrogate_is_another_one(narrow: nn.Module, faked: Dataset) -> None:
    attacker, found = tune(narrow, *held_out(faked), threat=EPS, draws=1, seed=5, substitutes=["twin"])
    assert attacker.best != BPTT()
    assert found.leads[rule_name(attacker.best)] == max(found.leads.values()) > found.leads["bptt"] + 0.1
    by_lead = [rule_name(rule) for rule in attacker.ranked]
    assert len(by_lead) == 8
    assert by_lead == sorted(by_lead, key=found.leads.__getitem__, reverse=True)
    of_family = [list(found.leads)[:5], list(found.leads)[5:8]]  # ASSG's shares, HART's widths: the best of each is kept
    assert {max(family, key=found.leads.__getitem__) for family in of_family} <= set(by_lead)
    assert set(found.leads) - set(by_lead) < set(of_family[0]) | set(of_family[1])
    assert (attacker.draws, attacker.substitutes) == (1, ("twin",))


def test_leads_go_by_the_names_of_the_rules_and_the_cost_is_counted(narrow: nn.Module, faked: Dataset) -> None:
    x, y = held_out(faked)
    _, found = tune(narrow, x, y, threat=EPS, seed=5)
    assert list(found.leads) == [rule_name(rule) for rule in CANDIDATES]
    assert all(math.isfinite(lead) for lead in found.leads.values())
    # A start and a look after each step, for every candidate; then one look at what came of it.
    gradients = len(CANDIDATES) * IMAGES * (1 + STEPS)
    assert (found.images, found.backwards, found.forwards) == (IMAGES, gradients, gradients + len(CANDIDATES) * IMAGES)
    assert found.seconds > 0
    assert Tuning(**json.loads(json.dumps(found.to_json()))) == found
    assert all(neuron.rule is None for neuron in neurons_of(narrow).values())


def test_the_seed_decides_and_nothing_else(narrow: nn.Module, faked: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "SHARES", (0.4, 0.475))
    monkeypatch.setattr(tuning, "GAMMAS", (1.0,))
    x, y = held_out(faked)
    torch.manual_seed(1)
    one, state = tune(narrow, x, y, threat=EPS, seed=5), torch.get_rng_state()
    torch.manual_seed(2)
    again, other = tune(narrow, x, y, threat=EPS, seed=5), tune(narrow, x, y, threat=EPS, seed=6)
    assert one[0] == again[0]
    assert one[1].leads == again[1].leads != other[1].leads
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_lead_is_the_mean_over_the_images_of_what_the_attack_reached(faked: Dataset) -> None:
    """A network that does not look at its images: the lead is what its logits say, whatever the rule."""
    model = build("vgg4-tiny", classes=3, image_shape=(1, 8, 8), steps=2).eval()
    readout = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
    nn.init.zeros_(readout.weight)
    with torch.no_grad():
        readout.bias.copy_(torch.tensor([1.0, 3.0, 0.0]))
    x, _ = held_out(faked)
    attacker, found = tune(model, x[:3], torch.tensor([0, 1, 2]), threat=EPS)
    assert set(found.leads.values()) == {(2 - 2 + 3) / 3}
    assert attacker.best in CANDIDATES  # nothing tells them apart, and no gradient does no harm


def test_a_network_without_neurons_gets_the_plain_attacker(faked: Dataset) -> None:
    x, y = held_out(faked)
    ann = build("vgg4-tiny", classes=4, image_shape=(1, 8, 8), spiking=False).eval()
    for model in (ann, lambda images: images.flatten(1)[:, :4]):
        attacker, found = tune(model, x, y, threat=EPS, draws=3, substitutes=("twin", "ann"))
        assert attacker == Attacker(draws=3, substitutes=("twin", "ann"))
        assert found == Tuning(leads={}, images=IMAGES, forwards=0, backwards=0, seconds=0.0)


def test_without_images_there_is_nothing_to_tune_on(narrow: nn.Module, faked: Dataset) -> None:
    x, y = held_out(faked)
    with pytest.raises(InvalidInput, match=r"not judged, e\.g\. of the validation split; there are none"):
        tune(narrow, x[:0], y[:0], threat=EPS)
    with pytest.raises(InvalidInput, match="labels must be"):
        tune(narrow, x, y[:2], threat=EPS)


def test_a_random_network_is_tuned_over_two_draws(faked: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "SHARES", (0.4,))
    monkeypatch.setattr(tuning, "GAMMAS", (1.0,))
    x, y = held_out(faked)
    model = build("vgg4-tiny", classes=4, image_shape=(1, 8, 8), steps=2, input_noise=0.1).eval()
    attacker, found = tune(model, x[:2], y[:2], threat=EPS, draws=3)
    count = len(CANDIDATES) - 6
    assert attacker.draws == 3
    assert tuning.DRAWS == 2
    assert found.backwards == count * 2 * 2 * (1 + STEPS)
    assert found.forwards == found.backwards + count * 2 * 2
