"""RMP-loss: its zeros and its peak, values and gradients by hand, its weight over training."""

import pytest
import torch
from torch import Tensor, nn

from snnguard.defenses import Batch, Defense, Step
from snnguard.defenses.rmp import RMPLoss, distance
from snnguard.layers import watching
from snnguard.networks import Network
from snnguard.neurons import LIF, Watch

DOUBLE = torch.float64


def penalty(defense: Defense, model: nn.Module, x: Tensor, progress: float = 1.0) -> Tensor | None:
    with watching(model, defense.watch) as seen:
        logits = model(x)
    step = Step(progress=progress, seed=0, membranes={name: passes[-1] for name, passes in seen.items()})
    return defense.penalty(model, Batch(x=x, y=torch.tensor([0]), clean=x), logits, step)


def layer(threshold: float = 1.0, steps: int = 1) -> nn.Sequential:
    return nn.Sequential(LIF(threshold=threshold).build(steps=steps))


@pytest.mark.parametrize(
    ("u", "wanted"), [(0.0, 0.0), (1.0, 0.0), (0.5, 1.0), (0.25, 0.25), (0.75, 0.25), (-1.0, 4.0), (2.0, 4.0), (1.5, 1.0)]
)
def test_golden_numbers(u: float, wanted: float) -> None:
    assert float(distance(torch.tensor([u], dtype=DOUBLE))) == pytest.approx(wanted, abs=1e-12)


def test_it_is_four_times_the_squared_distance_to_the_nearer_spike_value() -> None:
    u = torch.linspace(-3, 4, 701, dtype=DOUBLE)
    nearer = torch.minimum(u.abs(), (u - 1).abs())
    torch.testing.assert_close(distance(u), (4 * nearer**2).mean())


@pytest.mark.parametrize("threshold", [1.0, 2.5])
def test_the_unit_of_u_is_the_threshold(threshold: float) -> None:
    # 0, 1/2, 1 and 2 thresholds: (0 + 1 + 0 + 4) / 4. The gradient is 2 (|2u - 1| - 1) * (+-2) / threshold / 4,
    # with the sign of 2u - 1: at 2 thresholds 2 * 2 * 2 / 4 = 2 / threshold; at 1/2 the kink gives none.
    x = (torch.tensor([[[0.0, 0.5], [1.0, 2.0]]], dtype=DOUBLE) * threshold).requires_grad_()
    term = penalty(RMPLoss(weight=1.0), layer(threshold), x)
    assert float(term.detach()) == pytest.approx(1.25)
    (gradient,) = torch.autograd.grad(term, x)
    assert gradient.flatten().tolist() == pytest.approx([0, 0, 0, 2 / threshold])


def test_two_steps_by_hand() -> None:
    # u = 0.4: (0.2 - 1)^2 = 0.64; u = 0.4 + 1.0 = 1.4: (1.8 - 1)^2 = 0.64. Half of it by weight.
    term = penalty(RMPLoss(weight=0.5), layer(steps=2), torch.tensor([0.4, 1.0], dtype=DOUBLE)[:, None, None])
    assert float(term) == pytest.approx(0.32)


def test_the_layers_are_averaged() -> None:
    # Layer one at 0.5: 1. Layer two sees no spike: 0.
    model = nn.Sequential(LIF().build(steps=1), LIF().build(steps=1))
    assert float(penalty(RMPLoss(weight=1.0), model, torch.full((1, 3, 2), 0.5))) == pytest.approx(0.5)


def test_the_weight_rises_over_training() -> None:
    x = torch.full((1, 3, 2), 0.5)
    assert penalty(RMPLoss(weight=0.2), layer(), x, progress=0.0) is None
    found = [float(penalty(RMPLoss(weight=0.2), layer(), x, progress=p)) for p in (0.25, 0.5, 1.0)]
    assert found == pytest.approx([0.05, 0.1, 0.2])
    assert float(penalty(RMPLoss(weight=0.2, rise="constant"), layer(), x, progress=0.0)) == pytest.approx(0.2)


def test_no_weight_no_defense() -> None:
    off, network = RMPLoss(weight=0), Network(name="vgg4-tiny")
    assert off.watch == Watch()
    assert penalty(off, layer(), torch.ones(1, 2, 2)) is None
    assert off.design(network) is network
    assert off.adaptive() == ()


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0, -50.0, 50.0, 1e10])
def test_value_and_gradient_are_finite_whatever_the_input(value: float) -> None:
    x = torch.full((2, 4, 3, 2, 2), value, requires_grad=True)
    term = penalty(RMPLoss(), layer(steps=2), x)
    assert torch.isfinite(term)
    assert torch.isfinite(torch.autograd.grad(term, x)[0]).all()
