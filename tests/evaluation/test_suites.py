"""The suites beyond the papers' own: what is in them, under which gradients, and what they cost."""

import json

import pytest
import torch
from torch import Tensor, nn

from snnguard.attacks import (
    APGD,
    DLR,
    FAB,
    PGD,
    SAPGD,
    Attack,
    CrossEntropy,
    InputGradient,
    MultiTargeted,
    RandomSearch,
    Square,
    apgd_t,
)
from snnguard.errors import UnknownName
from snnguard.evaluation import Attacker, Entry, Suite, suite, suites
from snnguard.evaluation.meter import metered
from snnguard.neurons import ASSG, BPTT, HART, PDSG, ATan, FiredMask, RateGradient, Triangle
from snnguard.threat import Linf

SIX_RULES = (PDSG(), ASSG(share=0.45), BPTT(), HART(gamma=2), BPTT(surrogate=Triangle(gamma=0.5)), RateGradient())
SIX = ["pdsg", "assg(share=0.45)", "bptt", "hart(gamma=2.0)", "bptt(surrogate=triangle(gamma=0.5))", "rate"]
KNOWING = Attacker(ranked=(*SIX_RULES, BPTT(surrogate=ATan()), FiredMask()), substitutes=("ann", "twin"))
RANDOM = KNOWING.model_copy(update={"draws": 7})
QUICK = ["fgsm/bptt", "pgd-10/bptt", "fgsm/rate", "pgd-10/rate", "apgd-ce-50/assg", "apgd-dlr-50/assg"]
NAMES = sorted(suites.SUITES)


def made(name: str, attacker: Attacker = KNOWING) -> Suite:
    return suite(name, attacker=attacker)


def names(chosen: Suite) -> list[str]:
    return [entry.name for entry in chosen.entries]


def inner(attack: Attack) -> Attack:
    return attack.attack if isinstance(attack, MultiTargeted) else attack


# --- every suite ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_suite_is_called_by_its_name_and_comes_back_from_json(name: str) -> None:
    for attacker in (Attacker(), KNOWING, RANDOM):
        chosen = made(name, attacker)
        assert chosen.name == name
        assert chosen.entries
        assert Suite.parse(json.loads(json.dumps(chosen.to_json()))) == chosen
    assert Attacker.parse(json.loads(json.dumps(RANDOM.to_json()))) == RANDOM


@pytest.mark.parametrize("name", NAMES)
def test_draws_reach_every_attack_that_can_be_unlucky_and_none_stops_at_a_lucky_success(name: str) -> None:
    for entry in made(name, RANDOM).entries:
        attack = inner(entry.attack)
        if entry.gradient is not None:
            assert entry.gradient.draws == 7, entry.name
        assert getattr(attack, "draws", 7) == 7, entry.name
        if isinstance(attack, APGD | SAPGD | PGD):  # of the others one look ends no run where there are several draws
            assert not attack.early_stop, entry.name
    early = [inner(e.attack) for e in made(name).entries if not e.substitute and isinstance(inner(e.attack), APGD | SAPGD)]
    assert all(attack.early_stop for attack in early)


@pytest.mark.parametrize("name", NAMES)
def test_only_noise_cw_and_the_larger_balls_do_not_count(name: str) -> None:
    for entry in made(name).entries:
        control = (
            entry.name.startswith(("gaussian", "uniform", "cw", "pgd-20@2", "pgd-20@4", "pgd-20@range")) or name == "common"
        )
        assert entry.counts == (not control), entry.name


@pytest.mark.parametrize("name", NAMES)
def test_only_standard_and_spike_are_cascades_and_only_spike_repairs(name: str) -> None:
    chosen = made(name)
    assert (chosen.cascade, chosen.repairs) == (name in ("standard", "spike"), name == "spike")
    assert (name in suites.TUNED) == chosen.cascade


@pytest.mark.parametrize("name", NAMES)
def test_what_is_asked_of_a_network_without_neurons(name: str) -> None:
    plain = made(name).without_rules()
    assert all(entry.gradient is None or entry.gradient.rule is None for entry in plain.entries)
    assert not any("/" in entry.name for entry in plain.entries)
    # Each attack once: the first of its name.
    first = {entry.name.partition("/")[0]: entry for entry in reversed(made(name).entries)}
    assert names(plain) == list(dict.fromkeys(n.partition("/")[0] for n in names(made(name))))
    for entry in plain.entries:
        assert entry.attack == first[entry.name].attack.with_rule(None)
        assert entry.radius == first[entry.name].radius
    assert (plain.cascade, plain.repairs, plain.name) == (made(name).cascade, made(name).repairs, name)
    assert plain.without_rules() == plain


def test_the_name_has_to_be_known() -> None:
    with pytest.raises(UnknownName, match="unknown suite 'spikes'; did you mean 'spike'"):
        suite("spikes")


# --- substitutes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["spike", "checks"])
def test_substitutes_are_crafted_on_if_they_are_there(name: str) -> None:
    chosen = made(name)
    transfers = [entry for entry in chosen.entries if entry.substitute]
    assert [(e.name, e.substitute) for e in transfers] == [("transfer-ann", "ann"), ("transfer-twin", "twin")]
    for entry in transfers:
        attack = entry.attack
        assert isinstance(attack, PGD)
        assert (attack.steps, attack.momentum, attack.early_stop) == (20, 1.0, False)
        assert attack.gradient == InputGradient()  # a substitute has its own neurons, or none
        assert entry.counts
    assert [e.name for e in chosen.crafted_on(["twin"]).entries if e.substitute] == ["transfer-twin"]
    rest = [entry for entry in chosen.entries if not entry.substitute]
    assert (
        list(chosen.crafted_on({}).entries) == list(made(name, KNOWING.model_copy(update={"substitutes": ()})).entries) == rest
    )
    assert [e for e in chosen.without_rules().entries if e.substitute] == transfers


@pytest.mark.parametrize("name", ["paper", "quick", "standard", "noise"])
def test_the_others_know_no_substitutes(name: str) -> None:
    assert not any(entry.substitute for entry in made(name).entries)


# --- standard and spike ---------------------------------------------------------------------------------------------


def test_standard_is_autoattack_under_the_best_rule() -> None:
    chosen = made("standard")
    assert names(chosen) == ["apgd-ce/pdsg", "apgd-t/pdsg", "fab-t/pdsg", "square"]
    assert [type(entry.attack) for entry in chosen.entries] == [APGD, MultiTargeted, FAB, Square]
    assert all(entry.gradient is None or entry.gradient.rule == PDSG() for entry in chosen.entries)
    assert names(suite("standard")) == ["apgd-ce/bptt", "apgd-t/bptt", "fab-t/bptt", "square"]


def test_standard_for_random_networks_is_the_version_for_them() -> None:
    chosen = made("standard", RANDOM)
    assert names(chosen) == ["apgd-ce/pdsg", "apgd-dlr/pdsg"]
    assert [entry.gradient for entry in chosen.entries] == [
        InputGradient(rule=PDSG(), draws=7), InputGradient(rule=PDSG(), draws=7, loss=DLR()),
    ]  # fmt: skip


@pytest.mark.parametrize("attacker", [KNOWING, RANDOM], ids=["deterministic", "random"])
def test_spike_opens_with_quick_so_that_it_never_leaves_more(attacker: Attacker) -> None:
    first = made("quick", attacker).entries
    assert made("spike", attacker).entries[: len(first)] == first


def test_quick_is_the_papers_first_look_and_apgd_on_both_losses_under_assg() -> None:
    entries = {entry.name: entry.attack for entry in made("quick").entries}
    assert list(entries) == QUICK
    for name in QUICK[:4]:
        assert entries[name] == {entry.name: entry.attack for entry in made("paper").entries}[name]
    for name, loss in (("apgd-ce-50/assg", CrossEntropy()), ("apgd-dlr-50/assg", DLR())):
        assert entries[name] == APGD(steps=50, early_stop=True, gradient=InputGradient(rule=ASSG(), loss=loss))


def test_spike_is_three_attacks_under_six_gradients_then_fab_and_square() -> None:
    entries = {entry.name: entry for entry in made("spike").entries}
    firsts = [f"{attack}/{rule}" for rule in SIX for attack in ("sa-pgd", "apgd-ce")]
    lasts = [*(f"apgd-t/{rule}" for rule in SIX), "fab-t/pdsg", "square"]
    assert list(entries) == [*QUICK, *firsts, "transfer-ann", "transfer-twin", *lasts]
    for name, rule in zip(SIX, SIX_RULES, strict=True):
        gradient = InputGradient(rule=rule)
        assert entries[f"sa-pgd/{name}"].attack == SAPGD(steps=100, early_stop=True, gradient=gradient)
        assert entries[f"apgd-ce/{name}"].attack == APGD(steps=100, early_stop=True, gradient=gradient)
        assert entries[f"apgd-t/{name}"].attack == apgd_t(steps=100, gradient=gradient)
    assert entries["fab-t/pdsg"].attack == FAB(steps=100, gradient=InputGradient(rule=PDSG()))
    assert entries["square"].attack == Square(queries=5000)


def test_spike_of_a_random_network_asks_its_two_best_gradients_without_classes_one_by_one() -> None:
    entries = {entry.name: entry for entry in made("spike", RANDOM).entries}
    firsts = [f"{attack}/{rule}" for rule in SIX[:2] for attack in ("sa-pgd", "apgd-ce")]
    lasts = ["transfer-ann", "transfer-twin", "apgd-dlr/pdsg", f"apgd-dlr/{SIX[1]}", "square"]
    assert list(entries) == [*QUICK, *firsts, *lasts]
    assert entries["apgd-dlr/pdsg"].attack == APGD(gradient=InputGradient(rule=PDSG(), draws=7, loss=DLR()))
    assert entries["square"].attack == Square(queries=100, draws=7)


def test_spike_can_be_shortened_in_proportion() -> None:
    short = suites.spike(Attacker(), steps=3, queries=4)
    full = [name.replace("-50/", "-3/").replace("pgd-10/", "pgd-3/") for name in names(suite("spike"))]
    assert names(short) == full
    assert {getattr(inner(entry.attack), "steps", 3) for entry in short.entries if "fgsm" not in entry.name} == {3}
    assert short.entries[-1].attack == Square(queries=4)


class Constant(nn.Module):
    """Ten classes, of which the first is always on top."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.arange(10, 0, -1).to(x) + 0 * x.flatten(1).sum(1, keepdim=True)


def backwards(attack: Attack) -> int:
    """Gradients per image where nothing falls."""
    if isinstance(attack, MultiTargeted):
        return attack.classes * backwards(attack.attack)
    draws = attack.gradient.draws if hasattr(attack, "gradient") else 0
    if isinstance(attack, APGD | SAPGD):
        return draws * attack.restarts * (1 + attack.steps)
    if isinstance(attack, FAB):
        return draws * attack.restarts * attack.classes * attack.steps
    return draws * attack.steps if isinstance(attack, PGD) else 0


@pytest.mark.parametrize("draws", [1, 2])
def test_the_count_of_gradients_is_what_the_meter_measures(draws: int) -> None:
    x, y = torch.full((2, 1, 3, 3), 0.5), torch.tensor([0, 0])
    attacker = Attacker(draws=draws, substitutes=("twin",))
    for entry in suites.spike(attacker, steps=2, queries=2).without_rules().entries:
        model = Constant()
        with metered(model) as cost:
            entry.attack(model, x, y, threat=Linf(eps=0.1), seed=0)
        assert cost.backwards == 2 * backwards(entry.attack), entry.name
        descends = entry.name.startswith(("fgsm", "pgd", "sa-pgd", "apgd-ce", "apgd-dlr"))
        assert cost.forwards > cost.backwards or entry.substitute or descends


@pytest.mark.parametrize("attacker", [KNOWING, RANDOM], ids=["deterministic", "random"])
def test_spike_costs_at_most_four_times_standard(attacker: Attacker) -> None:
    """In passes, where nothing falls; a backward pass costs about two forward passes."""
    cost = {}
    for name in ("standard", "spike"):
        attacks = [entry.attack for entry in made(name, attacker).entries]
        queries = sum(attack.draws * attack.queries for attack in attacks if isinstance(attack, Square))
        cost[name] = 3 * sum(backwards(attack) for attack in attacks) + queries
    if attacker is KNOWING:
        assert cost["standard"] == 3 * (101 + 9 * 101 + 9 * 100) + 5000
    assert cost["standard"] < cost["spike"] <= 4 * cost["standard"]


# --- checks ---------------------------------------------------------------------------------------------------------


def test_checks_compare_steps_radii_rules_and_attacks_without_a_gradient() -> None:
    chosen = made("checks")
    assert names(chosen) == [
        "fgsm/bptt", "pgd-20/bptt", "pgd-100/bptt", "pgd-20/rate", "pgd-20@0.5/bptt", "pgd-20@2/bptt", "pgd-20@4/bptt",
        "pgd-20@range/bptt", "random-search", "square", "transfer-ann", "transfer-twin",
    ]  # fmt: skip
    entries = {entry.name: entry for entry in chosen.entries}
    for name, steps in (("pgd-20", 20), ("pgd-100", 100)):
        attack = entries[f"{name}/bptt"].attack
        assert isinstance(attack, PGD)
        assert attack.steps == steps
        assert attack.steps * attack.step_fraction == pytest.approx(2.5)  # as far altogether
    radii = {name: entry.radius for name, entry in entries.items() if "@" in name}
    assert radii == {"pgd-20@0.5/bptt": 0.5, "pgd-20@2/bptt": 2, "pgd-20@4/bptt": 4, "pgd-20@range/bptt": None}
    assert {entries[name].attack for name in radii} == {entries["pgd-20/bptt"].attack}
    assert isinstance(entries["random-search"].attack, RandomSearch)
    assert isinstance(entries["square"].attack, Square)


def test_an_entry_counts_within_the_ball() -> None:
    attack = PGD()
    assert [Entry(name="x", attack=attack, radius=r).counts for r in (0, 0.5, 1, 1.01, 8, None)] == [True] * 3 + [False] * 3
