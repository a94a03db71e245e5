"""What every registered defense promises: each test runs over the whole registry."""

import json

import pytest
import torch
from torch import Tensor, nn

from snnguard.attacks import Attack
from snnguard.data import fake
from snnguard.defenses import MPDSGR, REG, TGO, AdversarialTraining, Batch, Defense, Stack, Step, rat
from snnguard.layers import watching
from snnguard.networks import Network, build, construct
from snnguard.neurons import MembraneNoise
from snnguard.threat import Linf
from snnguard.training import SGD, Training, fit

NAMES = sorted(name for name, make in Defense.members().items() if make.__module__.startswith("snnguard."))
NOTHING = {
    "empty stack": Stack(),
    "stack of stacks": Stack(parts=(Stack(), Stack(parts=(Stack(),)))),
    "mpd-sgr": MPDSGR(eta=0),
    "mpd-sgr, analytic": MPDSGR(eta=0, moments="analytic"),
    "tgo": TGO(lambda_max=0, sigma=0),
    "at": AdversarialTraining(threat=Linf(eps=0)),
    "reg": REG(beta=0),
    "all": Stack(parts=(MPDSGR(eta=0), TGO(lambda_max=0, sigma=0), AdversarialTraining(threat=Linf(eps=0)), REG(beta=0))),
}


def make(name: str) -> Defense:
    member = Defense.members()[name]
    return member.example() if isinstance(member, type) else member()


def network(**settings: object) -> Network:
    return Network(name="vgg4-tiny", steps=2, **settings)


def trained(defense: Defense, steps: int = 3) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """Weights and statistics after a few steps on made-up images, and what was logged."""
    data = fake(classes=3, image_shape=(1, 8, 8), train=8 * steps, validation=8, test=8)
    model = construct(defense.design(network()), classes=3, image_shape=data.image_shape, mean=data.mean, std=data.std, seed=0)
    training = Training(epochs=1, batch_size=8, optimiser=SGD(learning_rate=0.05), device="cpu", probe_size=8)
    lines: list[dict[str, float]] = []
    fit(
        model, data.train, data.validation, defense=defense, training=training, seed=3,
        report=lambda step, total, line: lines.append(line),
    )  # fmt: skip
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}, lines


@pytest.fixture(scope="module")
def undefended() -> dict[str, Tensor]:
    return trained(Defense.parse("stack"))[0]


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("name", NOTHING)
def test_without_strength_it_is_bit_identical_to_no_defense(name: str, undefended: dict[str, Tensor]) -> None:
    weights, lines = trained(NOTHING[name])
    assert same(weights, undefended)
    assert not any(key.startswith("penalty.") for line in lines for key in line)
    assert not NOTHING[name].watch
    assert NOTHING[name].adaptive() == ()


@pytest.mark.parametrize("name", NAMES)
def test_it_trains_repeatably_and_stays_finite(name: str, undefended: dict[str, Tensor]) -> None:
    weights, lines = trained(make(name), steps=2)
    again, _ = trained(make(name), steps=2)
    assert same(weights, again)
    assert all(torch.isfinite(t).all() for t in weights.values())
    assert len(lines) == 2


def test_strength_does_change_the_weights(undefended: dict[str, Tensor]) -> None:
    stronger = [MPDSGR(eta=1), TGO(rise="constant"), TGO(lambda_max=0), AdversarialTraining(), REG(beta=0.01), rat()]
    assert not any(same(trained(defense)[0], undefended) for defense in stronger)


@pytest.mark.parametrize("name", NAMES)
def test_design_is_pure(name: str) -> None:
    defense, before = make(name), network()
    copy = Network.parse(before.to_json())
    once, twice = defense.design(before), defense.design(before)
    assert before == copy
    assert once == twice
    assert defense.design(once) == once
    assert once.name == before.name
    assert once.steps == before.steps
    construct(once, classes=3, image_shape=(1, 8, 8), mean=[0.0], std=[1.0])


@pytest.mark.parametrize("name", NAMES)
def test_json_round_trip(name: str) -> None:
    defense = make(name)
    back = Defense.parse(json.loads(json.dumps(defense.to_json())))
    assert back == defense
    assert hash(back) == hash(defense)
    assert isinstance(Defense.parse(name), Defense)


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_changes(name: str) -> None:
    assert make(name).changes


@pytest.mark.parametrize(
    "defense", [*map(make, NAMES), TGO(inference_noise=True), Stack(parts=(TGO(inference_noise=True), REG()))], ids=str
)
def test_a_defense_that_leaves_the_network_random_demands_attacks_with_draws(defense: Defense) -> None:
    model = construct(defense.design(network()), classes=3, image_shape=(1, 8, 8), mean=[0.0], std=[1.0])
    required = defense.adaptive()
    assert all(isinstance(attack, Attack) for attack in required)
    if model.stochastic:
        assert any(getattr(attack, "gradient", None) and attack.gradient.draws > 1 for attack in required)


@pytest.mark.parametrize("name", NAMES)
def test_penalties_are_finite_scalars_that_reach_the_weights(name: str) -> None:
    defense = make(name)
    model = construct(defense.design(network()), classes=3, image_shape=(1, 8, 8), mean=[0.0], std=[1.0]).train()
    x = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    batch = Batch(x=x, y=torch.arange(6) % 3, clean=x)
    with watching(model, defense.watch) as seen:
        logits = model(x)
    step = Step(progress=0.7, seed=1, membranes={name: passes[-1] for name, passes in seen.items()})
    for term in defense.penalties(model, batch, logits, step).values():
        assert term.shape == ()
        assert torch.isfinite(term)
        assert term > 0
        gradients = torch.autograd.grad(term, list(model.parameters()), allow_unused=True, retain_graph=True)
        found = [g for g in gradients if g is not None]
        assert all(torch.isfinite(g).all() for g in found)
        assert any(g.abs().sum() > 0 for g in found)


@pytest.mark.parametrize("name", NAMES)
def test_hooks_leave_the_mode_and_the_statistics_of_the_model_alone(name: str) -> None:
    defense = make(name)
    model: nn.Module = build("vgg4-tiny", classes=3, image_shape=(1, 8, 8), steps=2).train()
    statistics = {name: b.clone() for name, b in model.named_buffers()}
    x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    step = Step(progress=0.5, seed=1, membranes={})
    batch = defense.batch(model, Batch(x=x, y=torch.arange(4) % 3, clean=x), step)
    defense.constrain(model, step)
    assert batch.x.shape == x.shape
    assert torch.equal(batch.clean, x)
    assert all(m.training for m in model.modules())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(b, statistics[name]) for name, b in model.named_buffers())


def test_noise_is_designed_in_only_where_it_is_wanted() -> None:
    assert isinstance(TGO().design(network()).neuron.traits[0], MembraneNoise)
    assert TGO(sigma=0).design(network()).neuron.traits == ()
