"""DLIF: the disturbance against its double sum, the loss put together by hand, which images and which gradients it takes."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from snnguard import rng
from snnguard.attacks import PGD
from snnguard.defenses import TGO, AdversarialTraining, Batch, Defense, Smoothing, Stack, Step, StoG
from snnguard.defenses.dlif import DLIF, disturbance
from snnguard.errors import DefenseConflict
from snnguard.layers import watching
from snnguard.networks import Network, build, construct
from snnguard.neurons import LIF, neurons_of, plif
from snnguard.neurons.gain import StepGain
from snnguard.threat import Linf

DOUBLE = torch.float64
Y = torch.tensor([0, 2, 1, 1])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def images(seed: int = 0) -> Tensor:
    return torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


class Small(nn.Module):
    """[N, 5] -> two spiking layers -> [N, 3]; the current of the last is what its weights make of the first one's spikes."""

    def __init__(self, *, steps: int = 3, decay: float = 0.9) -> None:
        super().__init__()
        self.first, self.second, self.readout = (nn.Linear(a, b) for a, b in ((5, 7), (7, 6), (6, 3)))
        self.inner = LIF(decay=decay, traits=(StepGain(),)).build(steps=steps)
        self.last = LIF(decay=decay, traits=(StepGain(),)).build(steps=steps)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.readout(self.last(self.second(self.inner(self.first(2 * x)[None])))).mean(0)
        return logits


@pytest.fixture
def small() -> Small:
    with rng.scope(5):
        return Small().double()


def objective(defense: DLIF, model: nn.Module, clean: Tensor, perturbed: Tensor) -> tuple[Tensor, Tensor]:
    """The training loss and the logits of the perturbed images, as the loop makes them."""
    with watching(model, defense.watch) as seen:
        logits = model(perturbed)
    step = Step(progress=0.5, seed=0, membranes={name: passes[-1] for name, passes in seen.items()}, classes=3)
    return defense.objective(model, Batch(x=perturbed, y=Y, clean=clean), logits, step), logits


@pytest.mark.parametrize("decay", [1.0, 0.99, 0.5, 0.0])
@pytest.mark.parametrize("given", [1, 6])
def test_the_disturbance_is_the_double_sum(decay: float, given: int) -> None:
    steps, d = 6, random(given, 3, 2, 4)
    squares = []
    for t in range(steps):
        y = sum(decay ** (t - k) * d[k if given > 1 else 0] for k in range(t + 1))
        squares.append(y.square())
    torch.testing.assert_close(disturbance(d, decay=decay, steps=steps), torch.stack(squares).mean())


def test_the_disturbance_by_hand() -> None:
    d = torch.tensor([1.0, -2.0, 4.0]).reshape(3, 1, 1)
    # Y = 1, -1.5, 3.25
    assert float(disturbance(d, decay=0.5, steps=3)) == pytest.approx((1 + 2.25 + 10.5625) / 3)


def test_the_neuron_is_the_papers() -> None:
    plain = LIF(threshold=1.5, reset="subtract")
    neuron = DLIF().design(Network(name="vgg4-tiny", neuron=plain)).neuron
    assert neuron == LIF(threshold=1.5, reset="subtract", decay=0.99, traits=(StepGain(),))
    assert DLIF(decay=0.5).design(Network(name="vgg4-tiny")).neuron.decay == 0.5


def test_the_loss_by_hand(small: Small) -> None:
    clean, perturbed = random(4, 5), random(4, 5, seed=1)
    for kappa, rho in ((0.5, 1.0), (0.3, 0.0), (0.0, 2.0), (1.0, 0.5)):
        loss, logits = objective(DLIF(kappa=kappa, rho=rho), small, clean, perturbed)
        currents: list[Tensor] = []
        hook = small.last.register_forward_pre_hook(lambda module, args, kept=currents: kept.append(args[0].detach()))
        with torch.no_grad():
            z, w = small(clean), small(perturbed)
        hook.remove()
        assert torch.equal(w, logits)
        y, total = torch.zeros(4, 6, dtype=DOUBLE), 0.0
        for t in range(3):
            y = 0.9 * y + currents[0][t] - currents[1][t]
            total += float(y.square().mean()) / 3
        assert total > 0
        ce = [float(-functional.log_softmax(a, 1)[torch.arange(4), Y].mean()) for a in (z, w)]
        assert float(loss.detach()) == pytest.approx(kappa * ce[0] + (1 - kappa) * ce[1] + rho * total)


def test_images_that_did_not_move_cost_nothing() -> None:
    defense = DLIF(rho=1e6)
    model = construct(
        defense.design(Network(name="vgg4-tiny", steps=3)), classes=3, image_shape=(1, 8, 8), mean=[0.5], std=[0.2]
    ).train()
    x = images()
    loss, logits = objective(defense, model, x, x)
    assert float(loss.detach()) == pytest.approx(float(functional.cross_entropy(logits, Y).detach()), rel=1e-6)
    moved, _ = objective(defense, model, x, images(1))
    assert float(moved.detach()) > 100


def test_no_gradient_enters_the_clean_branch_of_the_difference(small: Small) -> None:
    """Of the weights before the last layer, mean(Y^2) knows only what they did to the perturbed images."""
    clean, perturbed = random(4, 5), random(4, 5, seed=1)
    parameters = [small.second.weight, small.second.bias, small.first.weight, small.inner.mechanisms[0].p]

    def gradients(rho: float) -> list[Tensor]:
        return list(torch.autograd.grad(objective(DLIF(rho=rho), small, clean, perturbed)[0], parameters))

    found = [a - b for a, b in zip(gradients(1.0), gradients(0.0), strict=True)]

    def current(x: Tensor) -> Tensor:
        return small.second(small.inner(small.first(2 * x)[None]))

    with torch.no_grad():
        constant = current(clean)
    y, squares = torch.zeros(4, 6, dtype=DOUBLE), []
    difference = constant - current(perturbed)
    for t in range(3):
        y = 0.9 * y + difference[t]
        squares.append(y.square().mean())
    wanted = torch.autograd.grad(torch.stack(squares).mean(), parameters)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    assert all(b.any() for b in wanted)
    # The bias shifts both branches alike: with a gradient in both it would have none.
    assert wanted[1].abs().sum() > 1e-3


def test_the_last_layers_own_gain_is_left_out_of_the_difference(small: Small) -> None:
    clean, perturbed = random(4, 5), random(4, 5, seed=1)

    def term() -> float:
        return float(objective(DLIF(rho=1), small, clean, perturbed)[0] - objective(DLIF(rho=0), small, clean, perturbed)[0])

    with torch.no_grad():
        before = term()
        small.last.mechanisms[0].p.mul_(3)
        assert term() == pytest.approx(before, rel=1e-9)
        small.inner.mechanisms[0].p.mul_(3)
        assert term() != pytest.approx(before, rel=1e-3)


def batch_of(defense: Defense, seed: int = 0) -> Batch:
    model, x = build("vgg4-tiny", classes=3, image_shape=(1, 8, 8), steps=2).train(), images()
    with rng.scope(seed):
        return defense.batch(model, Batch(x=x, y=Y, clean=x), Step(progress=0.5, seed=1, membranes={}))


def test_alone_it_makes_gaussian_images_without_a_clamp() -> None:
    found = batch_of(DLIF(noise=0.5))
    assert torch.equal(found.clean, images())
    noise = found.x - found.clean
    n = noise.numel()
    assert abs(float(noise.mean())) < 4 * 0.5 / math.sqrt(n)
    assert abs(float(noise.std()) / 0.5 - 1) < 4 / math.sqrt(2 * n)
    assert found.x.min() < 0
    assert found.x.max() > 1
    assert not torch.equal(batch_of(DLIF(noise=0.5), seed=1).x, found.x)
    assert torch.equal(batch_of(DLIF(noise=0.0)).x, images())


def test_behind_an_attack_it_takes_the_attacks_images() -> None:
    attack = AdversarialTraining(attack=PGD(steps=1, step_fraction=1.0), threat=Linf(eps=0.1))
    alone, both = batch_of(attack), batch_of(Stack((attack, DLIF(noise=0.5))))
    assert torch.equal(both.x, alone.x)
    assert not torch.equal(both.x, images())
    assert torch.equal(both.clean, images())


def test_gaussian_noise_is_small_in_the_papers_variant() -> None:
    noise = batch_of(DLIF()).x - images()
    assert float(noise.std()) == pytest.approx(8 / 255, rel=0.2)


def test_the_term_pulls_clean_and_perturbed_currents_together() -> None:
    defense = DLIF(kappa=0.5, rho=1.0)
    model = construct(
        defense.design(Network(name="vgg4-tiny", steps=2)), classes=3, image_shape=(1, 8, 8), mean=[0.5], std=[0.2]
    ).train()
    x, moved = images(), images(1)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.2)
    values: list[Any] = []
    for _ in range(12):
        only = objective(DLIF(rho=1.0), model, x, moved)[0] - objective(DLIF(rho=0.0), model, x, moved)[0]
        values.append(float(only.detach()))
        optimiser.zero_grad()
        only.backward()
        optimiser.step()
    assert values[-1] < 0.7 * values[0]
    assert len(neurons_of(model)) == 3


@pytest.mark.parametrize("other", [Smoothing(), StoG(start=0.5), TGO(lambda_max=0)], ids=str)
def test_a_random_network_is_compared_under_the_same_draws(other: Defense) -> None:
    stack = Stack((other, DLIF(noise=0)))
    model = construct(stack.design(Network(name="vgg4-tiny", steps=2)), classes=3, image_shape=(1, 8, 8), mean=[0.0], std=[1.0])
    x = images()
    batch = Batch(x=x, y=torch.arange(len(x)) % 3, clean=x)
    model.train()
    with watching(model, stack.watch) as seen:
        logits = model(x)
    step = Step(progress=0.0, seed=1, membranes={name: passes[-1] for name, passes in seen.items()}, classes=3)
    losses = [Stack((other, DLIF(noise=0, rho=rho))).objective(model, batch, logits, step) for rho in (0.0, 100.0)]
    assert losses[0] is not None
    assert torch.equal(losses[0], losses[1])  # the images did not move, so there is nothing to weigh


def test_a_leak_that_the_network_learns_is_refused() -> None:
    with pytest.raises(DefenseConflict, match=r"dlif sets the neuron's leak to 0\.99, and learned-leak learns it"):
        DLIF().design(Network(name="vgg4-tiny", neuron=plif()))
