"""IM-loss: values by hand, through the neuron, and where it is silent."""

import pytest
import torch
from torch import Tensor, nn

from snnguard.defenses import Batch, Defense, Step
from snnguard.defenses.im_loss import IMLoss
from snnguard.layers import watching
from snnguard.networks import Network, build
from snnguard.neurons import LIF, Watch


def penalty(defense: Defense, model: nn.Module, x: Tensor, progress: float = 1.0) -> Tensor | None:
    with watching(model, defense.watch) as seen:
        logits = model(x)
    step = Step(progress=progress, seed=0, membranes={name: passes[-1] for name, passes in seen.items()})
    return defense.penalty(model, Batch(x=x, y=torch.tensor([0]), clean=x), logits, step)


def layer(threshold: float = 1.0, steps: int = 1) -> nn.Sequential:
    return nn.Sequential(LIF(threshold=threshold).build(steps=steps))


def test_one_step_by_hand() -> None:
    # Membranes 0, 1, 2, 9 have the mean 3; (3 - 2)^2 / 2^2 = 1/4, and d/du = 2 (3 - 2) / 4 / 4 values = 1/8.
    x = torch.tensor([[[0.0, 1.0], [2.0, 9.0]]], requires_grad=True)
    term = penalty(IMLoss(weight=1.0), layer(threshold=2.0), x)
    assert float(term.detach()) == pytest.approx(0.25)
    (gradient,) = torch.autograd.grad(term, x)
    assert gradient.flatten().tolist() == pytest.approx([0.125] * 4)


def test_two_steps_by_hand() -> None:
    # u = 0.4, then 0.4 + 1.0 = 1.4: mean 0.9, (0.9 - 1)^2 = 0.01, and half of it by weight.
    term = penalty(IMLoss(weight=0.5), layer(steps=2), torch.tensor([0.4, 1.0])[:, None, None])
    assert float(term) == pytest.approx(0.005)


def test_zero_where_the_mean_is_the_threshold_whatever_the_spread() -> None:
    for spread in (0.0, 1.0, 50.0):
        x = torch.tensor([[[1 - spread], [1 + spread]]], requires_grad=True)
        term = penalty(IMLoss(weight=1.0), layer(), x)
        assert float(term.detach()) == pytest.approx(0, abs=1e-10)


def test_the_layers_are_averaged() -> None:
    # Layer one: mean u 0.5, no spikes, (0.5 - 1)^2 = 1/4. Layer two sees zeros: (0 - 1)^2 = 1.
    model = nn.Sequential(LIF().build(steps=1), LIF().build(steps=1))
    assert float(penalty(IMLoss(weight=1.0), model, torch.full((1, 3, 2), 0.5))) == pytest.approx(0.625)


def test_no_weight_no_defense() -> None:
    off, network = IMLoss(weight=0), Network(name="vgg4-tiny")
    assert off.watch == Watch()
    assert penalty(off, layer(), torch.ones(1, 2, 2)) is None
    assert off.design(network) is network
    assert off.adaptive() == ()
    assert IMLoss(rise="linear").watch.moments
    assert penalty(IMLoss(rise="linear"), layer(), torch.ones(1, 2, 2), progress=0.0) is None


@pytest.mark.parametrize("value", [0.0, 1.0, -50.0, 50.0, 1e10])
def test_value_and_gradient_are_finite_whatever_the_input(value: float) -> None:
    x = torch.full((2, 4, 3, 2, 2), value, requires_grad=True)
    term = penalty(IMLoss(), layer(steps=2), x)
    assert torch.isfinite(term)
    assert torch.isfinite(torch.autograd.grad(term, x)[0]).all()


def test_a_step_down_its_gradient_draws_a_network_towards_the_threshold() -> None:
    model = build("vgg4-tiny", classes=3, image_shape=(1, 8, 8), steps=2).train()
    x = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    before = penalty(IMLoss(weight=1.0), model, x)
    used = list(model.parameters())
    gradients = torch.autograd.grad(before, used, allow_unused=True)
    with torch.no_grad():
        for parameter, gradient in zip(used, gradients, strict=True):
            if gradient is not None:
                parameter -= 0.05 * gradient
    assert 0 < float(penalty(IMLoss(weight=1.0), model, x).detach()) < float(before.detach())
