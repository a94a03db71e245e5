"""StoG: the prior, what learns when, and what a stack must know of it. The gates themselves: tests/neurons/test_gate.py."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnguard.attacks import PGD
from snnguard.data import fake
from snnguard.defenses import REG, Batch, Defense, Stack, Step
from snnguard.defenses.stog import StoG
from snnguard.networks import Network, SpikingClassifier, construct
from snnguard.neurons import LIF, mechanisms_of, neurons_of
from snnguard.neurons.gate import Gate, StochasticGate
from snnguard.training import SGD, AdamW, Training, fit

DATA = fake(classes=3, image_shape=(1, 8, 8), train=32, validation=4, test=4)


def designed(defense: Defense, **settings: Any) -> SpikingClassifier:
    network = defense.design(Network(name="vgg4-tiny", steps=2, **settings))
    return construct(network, classes=3, image_shape=(1, 8, 8), mean=DATA.mean, std=DATA.std)


def gates(model: nn.Module) -> list[Tensor]:
    return [gate.q for gate in mechanisms_of(model, Gate)]


def prior(defense: Defense, model: nn.Module, progress: float = 0.0) -> Tensor | None:
    x = torch.zeros(1, 1)
    step = Step(progress=progress, seed=0, membranes={})
    return defense.penalty(model, Batch(x=x, y=torch.tensor([0]), clean=x), x, step)


def trained(defense: Defense, optimiser: Any) -> list[list[Tensor]]:
    """The gates before the first and after each of four steps."""
    model = designed(defense)
    seen = [[q.detach().clone() for q in gates(model)]]
    fit(
        model, DATA.train, DATA.validation, defense=defense, seed=1,
        training=Training(epochs=1, batch_size=8, optimiser=optimiser, device="cpu", probe_size=4),
        report=lambda *_: seen.append([q.detach().clone() for q in gates(model)]),
    )  # fmt: skip
    return seen


def moved(one: list[Tensor], other: list[Tensor]) -> list[bool]:
    return [not torch.equal(a, b) for a, b in zip(one, other, strict=True)]


def test_every_neuron_has_a_gate_that_starts_open() -> None:
    model = designed(StoG())
    assert [tuple(q.shape) for q in gates(model)] == [(16, 8, 8), (32, 8, 8), (64,)]
    assert all(torch.equal(q, torch.ones_like(q)) for q in gates(model))
    assert len(gates(model)) == len(neurons_of(model))
    assert all((q == 0.6).all() for q in gates(designed(StoG(start=0.6))))


def test_the_rest_of_the_neuron_is_kept() -> None:
    plain = LIF(decay=0.7, threshold=1.5, reset="subtract")
    neuron = StoG(start=0.5, floor=0.2, inference="expectation").design(Network(name="vgg4-tiny", neuron=plain)).neuron
    assert neuron.traits == (StochasticGate(start=0.5, floor=0.2, inference="expectation"),)
    assert neuron.model_copy(update={"traits": ()}) == plain


def test_the_prior_by_hand() -> None:
    model = designed(StoG())
    size = 16 * 64 + 32 * 64 + 64
    assert float(prior(StoG(), model).detach()) == pytest.approx(5e-6 / 2 * size, rel=1e-6)
    assert float(prior(StoG(prior_norm="l1"), model).detach()) == pytest.approx(5e-6 * size, rel=1e-6)
    for q, value in zip(gates(model), (0.5, 0.2, 0.1), strict=True):
        q.data.fill_(value)
    squares = 16 * 64 * 0.25 + 32 * 64 * 0.04 + 64 * 0.01
    assert float(prior(StoG(prior=3.0), model).detach()) == pytest.approx(1.5 * squares, rel=1e-5)
    sums = 16 * 64 * 0.5 + 32 * 64 * 0.2 + 64 * 0.1
    assert float(prior(StoG(prior=3.0, prior_norm="l1"), model).detach()) == pytest.approx(3 * sums, rel=1e-5)
    for norm, slope in (("l2", lambda q: 3 * q), ("l1", lambda q: torch.full_like(q, 3))):
        found = torch.autograd.grad(prior(StoG(prior=3.0, prior_norm=norm), model), gates(model))
        for q, gradient in zip(gates(model), found, strict=True):
            torch.testing.assert_close(gradient, slope(q.detach()))


def test_the_prior_ends_when_the_gates_are_frozen() -> None:
    model = designed(StoG())
    assert prior(StoG(learn_until=0.5), model, 0.49) is not None
    assert prior(StoG(learn_until=0.5), model, 0.5) is None
    assert prior(StoG(prior=0), model) is None


@pytest.mark.parametrize("optimiser", [SGD(learning_rate=0.05, weight_decay=0.1), AdamW(learning_rate=1e-2)], ids=str)
def test_gates_learn_in_the_first_half_and_never_after_it(optimiser: Any) -> None:
    # The velocity of the momentum is far from zero when they are frozen, and the weight decay is large.
    seen = trained(StoG(start=0.8, prior=1e-3), optimiser)
    assert all(moved(seen[0], seen[1]))
    assert all(moved(seen[1], seen[2]))
    assert not any(moved(seen[2], seen[3]))
    assert not any(moved(seen[2], seen[4]))
    assert not any(moved(seen[0], trained(StoG(start=0.8, learn_until=0), optimiser)[-1]))
    assert all(moved(*trained(StoG(start=0.8, prior=1e-3, learn_until=1), optimiser)[-2:]))


def test_gates_stay_between_the_floor_and_one() -> None:
    rates = SGD(learning_rate=5.0)
    last = trained(StoG(floor=0.3, prior=1.0, learn_until=1), rates)
    for step in last[1:]:
        assert all(((q >= 0.3) & (q <= 1)).all() for q in step)
    assert any((q == q.new_tensor(0.3)).any() for q in last[1])  # the projection had something to do


def test_the_prior_closes_gates_and_without_it_none_closes_but_by_the_loss() -> None:
    # Gradients of the loss are nearly nothing beside a prior of 1: q <- q - rate * q.
    [before, after, *_] = trained(StoG(start=0.8, prior=1.0), SGD(learning_rate=0.01))
    for q, p in zip(before, after, strict=True):
        assert torch.allclose(p, q * 0.99, atol=2e-3)


def test_gates_take_no_weight_decay_and_a_rate_of_their_own() -> None:
    defense = StoG(learning_rate_scale=0.25)
    model = designed(defense)
    optimiser = SGD(learning_rate=0.1, weight_decay=0.5).over(model, defense.groups(model))
    owner = {id(p): group for group in optimiser.param_groups for p in group["params"]}
    assert len(owner) == len(list(model.parameters()))
    gated = {id(q) for q in gates(model)}
    assert len(gated) == 3
    for key, group in owner.items():
        assert group["weight_decay"] == (0.0 if key in gated else 0.5)
        assert group["lr"] == pytest.approx(0.1 * (0.25 if key in gated else 1.0))


def test_without_loss_and_prior_gates_stay_while_weights_decay() -> None:
    defense = StoG(start=0.8, prior=0)
    model = designed(defense)
    optimiser = SGD(learning_rate=0.1, weight_decay=0.5).over(model, defense.groups(model))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    (0.0 * model(torch.rand(4, 1, 8, 8)).sum()).backward()
    optimiser.step()
    for name, p in model.named_parameters():
        if name.endswith(".q"):
            assert torch.equal(p, before[name])
        elif name.endswith("weight"):
            torch.testing.assert_close(p.detach(), before[name] * 0.95)


def test_with_all_gates_open_and_held_the_training_is_the_plain_one() -> None:
    held = StoG(start=1, prior=0, learning_rate_scale=0)
    found = []
    for defense in (Stack(), held):
        model = designed(defense)
        training = Training(epochs=1, batch_size=8, optimiser=SGD(learning_rate=0.05), device="cpu", probe_size=4)
        fit(model, DATA.train, DATA.validation, defense=defense, training=training, seed=2)
        found.append(model.state_dict())
    plain, gated = found
    assert gated.keys() - plain.keys() == {name for name in gated if name.endswith(".q")}
    assert all((gated[name] == 1).all() for name in gated.keys() - plain.keys())
    assert all(torch.equal(gated[name], tensor) for name, tensor in plain.items())


def test_attacks_with_draws_are_required_exactly_where_gates_stay_random() -> None:
    for defense, random in ((StoG(), True), (StoG(inference="expectation"), False), (Stack((REG(), StoG())), True)):
        assert designed(defense).stochastic == random
        assert len(defense.adaptive()) == int(random)
        assert all(isinstance(attack, PGD) and attack.gradient.draws >= 10 for attack in defense.adaptive())


def test_a_network_in_expectation_mode_is_deterministic_and_one_that_draws_is_not() -> None:
    x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for inference in ("draw", "expectation"):
        model = designed(StoG(start=0.5, inference=inference)).train()
        with torch.no_grad():
            for layer in model.modules():
                if isinstance(layer, nn.Linear):
                    layer.weight.mul_(20)  # untrained, the last layer would be silent
            for _ in range(20):
                model(x)
            one, other = model.eval()(x), model(x)
        assert one.any()
        assert torch.equal(one, other) == (inference == "expectation")


def test_a_start_below_the_floor_is_refused() -> None:
    with pytest.raises(ValueError, match="floor"):
        StoG(start=0.05, floor=0.1)
