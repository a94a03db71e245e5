"""Dspike: its measured slopes against a loss whose slopes are known, the choice of b, and what must stay as it was."""

import math

import pytest
import torch
from torch import nn

from snnguard import rng
from snnguard.attacks import CrossEntropy, weight_gradient
from snnguard.defenses import Batch, Defense, Stack, Step
from snnguard.defenses.dspike import (
    Dspike,
    agreement,
    first_weight,
    measured_slopes,
    set_temperature,
    surrogate_slopes,
    unit_directions,
)
from snnguard.networks import Network, SpikingClassifier, construct
from snnguard.neurons import LIF, mechanisms_of
from snnguard.neurons.surrogate import Dspike as DspikeSurrogate
from snnguard.neurons.temperature import Temperature

SMALL = Dspike(directions=6)


def lively(model: SpikingClassifier) -> SpikingClassifier:
    """With larger weights behind the convolutions: fresh from the start, a network this small is silent."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.weight.mul_(6)
    return model


def network(defense: Defense = SMALL, *, seed: int = 0, neuron: LIF | None = None) -> SpikingClassifier:
    described = defense.design(Network(name="vgg4-tiny", steps=2, tdbn_alpha=3.0, neuron=neuron or LIF()))
    return lively(construct(described, classes=3, image_shape=(1, 8, 8), mean=[0.0], std=[1.0], seed=seed)).train()


def images(*, n: int = 16) -> Batch:
    x = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return Batch(x=x, y=torch.arange(n) % 3, clean=x)


def epoch(*, seed: int = 0, new: bool = True) -> Step:
    return Step(progress=0.0, seed=seed, membranes={}, new_epoch=new)


def temperatures(model: nn.Module) -> list[float]:
    return [float(layer.b) for layer in mechanisms_of(model, Temperature)]


class Smooth(nn.Module):
    """A network without spikes: here finite differences and backpropagation must agree."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Tanh(), nn.Linear(5, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def test_both_slopes_are_those_of_a_smooth_loss() -> None:
    torch.manual_seed(0)
    model, batch = Smooth().double(), images()
    batch = Batch(x=batch.x.double(), y=batch.y, clean=batch.x.double())
    weight = model.layers[1].weight
    units = unit_directions(weight, count=5, seed=1)
    loss = nn.functional.cross_entropy(model(batch.x), batch.y)
    wanted = (torch.autograd.grad(loss, weight)[0] * units).sum((1, 2))
    assert wanted.abs().min() > 1e-4
    torch.testing.assert_close(measured_slopes(model, batch, units, reach=1e-5, seed=1), wanted, rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(surrogate_slopes(model, batch, units, seed=1), wanted)


def test_directions_are_unit_repeatable_and_of_the_first_matrix() -> None:
    name, weight = first_weight(network())
    assert weight.shape[1:] == (1, 3, 3)
    assert name.endswith("weight")
    units = unit_directions(weight, count=7, seed=3)
    assert units.shape == (7, *weight.shape)
    assert units.flatten(1).norm(dim=1).tolist() == pytest.approx([1.0] * 7)
    assert torch.equal(units, unit_directions(weight, count=7, seed=3))
    assert not torch.equal(units, unit_directions(weight, count=7, seed=4))


def test_the_surrogate_enters_only_one_of_the_two() -> None:
    model, batch = network(), images()
    units = unit_directions(first_weight(model)[1], count=4, seed=0)
    found = []
    for b in (1.0, 5.0):
        set_temperature(model, b=b)
        slopes = measured_slopes(model, batch, units, reach=0.1, seed=0), surrogate_slopes(model, batch, units, seed=0)
        found.append(slopes)
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][0].abs().sum() > 0
    assert not torch.allclose(found[0][1], found[1][1])


def test_the_choice_is_the_best_of_the_three() -> None:
    chosen = set()
    for seed in range(6):
        defense, batch = Dspike(directions=6, change=1.0), images()
        model = network(defense, seed=seed)
        defense.prepare(model, batch, epoch(seed=seed))
        (after,) = set(temperatures(model))
        assert after in (2.0, 3.0, 4.0)
        chosen.add(after)
        # The cosines again, with an ordinary LIF of each surrogate, and weights that are written into the network.
        drawn = rng.derive(seed, "dspike")
        cosines = {}
        for b in (2.0, 3.0, 4.0):
            plain = network(Stack(), seed=seed, neuron=LIF(surrogate=DspikeSurrogate(b=b)))
            weight = first_weight(plain)[1]
            units = unit_directions(weight, count=6, seed=drawn)
            (gradient,) = weight_gradient(plain, batch.x, batch.y, [weight], CrossEntropy())
            said = [float((gradient * unit).sum()) for unit in units]
            start, h, measured = weight.detach().clone(), 0.1 * float(weight.detach().norm()), []
            for unit in units:
                losses = []
                for sign in (1, -1):
                    weight.data.copy_(start + sign * h * unit)
                    losses.append(float(nn.functional.cross_entropy(plain(batch.x), batch.y).detach()))
                measured.append((losses[0] - losses[1]) / (2 * h))
            weight.data.copy_(start)
            cosines[b] = float(nn.functional.cosine_similarity(torch.tensor(said), torch.tensor(measured), dim=0))
        assert cosines[after] == pytest.approx(max(cosines.values()), abs=1e-4)
        assert cosines[after] >= cosines[3.0] - 1e-4
    assert len(chosen) > 1  # else the test could not tell a choice from a habit


def test_nothing_else_moves() -> None:
    model, batch = network(), images()
    model(batch.x)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    SMALL.prepare(model, batch, epoch())
    assert torch.equal(torch.get_rng_state(), state)
    after = model.state_dict()
    assert after.keys() == before.keys()
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert all(name.endswith(".b") for name in moved)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(module.training for module in model.modules())


def test_only_a_new_epoch_and_a_change_call_for_a_choice() -> None:
    model, batch = network(), images()

    def refuse(*_: object) -> None:
        raise AssertionError("no pass was needed")

    hook = model.register_forward_pre_hook(refuse)
    SMALL.prepare(model, batch, epoch(new=False))
    Dspike(change=0).prepare(model, batch, epoch())
    assert temperatures(model) == [3.0] * 3
    with pytest.raises(AssertionError, match="no pass"):
        SMALL.prepare(model, batch, epoch())
    hook.remove()
    SMALL.prepare(nn.Linear(2, 2), batch, epoch())  # a network without temperatures is left alone


def test_it_stays_within_the_range() -> None:
    defense = Dspike(b=1.2, low=1.0, high=1.3, change=0.5, directions=4)
    model, found = network(defense), set()
    for seed in range(6):
        defense.prepare(model, images(), epoch(seed=seed))
        found |= set(temperatures(model))
    assert all(1.0 <= b <= 1.3 + 1e-6 for b in found)
    assert len(found) > 1
    with pytest.raises(ValueError, match="does not lie within"):
        Dspike(b=9.0)


def test_the_old_temperature_stays_where_nothing_can_be_measured() -> None:
    model = network()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()  # every current is 0: no spikes, a loss that does not move
    SMALL.prepare(model, images(), epoch())
    assert temperatures(model) == [3.0] * 3


def test_agreement_is_the_cosine() -> None:
    a = torch.tensor([3.0, 4.0])
    assert agreement(a, 2 * a) == pytest.approx(1)
    assert agreement(a, torch.tensor([4.0, -3.0])) == pytest.approx(0)
    assert agreement(a, torch.tensor([-1.0, 0.0])) == pytest.approx(-0.6)
    assert agreement(a, torch.zeros(2)) == 0
    assert agreement(a, torch.tensor([math.nan, 1.0])) == 0


def test_the_spikes_are_those_of_the_undefended_network() -> None:
    x = images().x
    logits = network(Stack())(x)
    assert torch.equal(network()(x), logits)
    assert logits.std() > 0
    assert Dspike().adaptive() == ()
