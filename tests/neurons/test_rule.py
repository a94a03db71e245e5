"""Gradient rules by hand. What holds for every rule stands in contracts/test_neurons.py."""

import pytest
import torch
from torch import Tensor

from snnguard.neurons import BPTT, LIF, FiredMask, GradientRule, RateGradient, Sigmoid, Triangle, Watch


def column(*values: float, steps: int = 1) -> Tensor:
    """[T, 1, F]: the same current in every step."""
    return torch.tensor(values, dtype=torch.float64).repeat(steps, 1, 1)


def gradients(rule: GradientRule, current: Tensor, neuron: LIF, *, steps: int, upstream: Tensor | None = None) -> Tensor:
    x = current.clone().requires_grad_()
    spikes, _ = rule.spikes(x, steps=steps, dynamics=neuron, surrogate=neuron.surrogate)
    (gradient,) = torch.autograd.grad(spikes, x, torch.ones_like(spikes) if upstream is None else upstream)
    return gradient


EDGES = [
    (1.0, [(-0.01, 0.0), (0.0, 0.5), (1e-9, 0.5), (1.0, 0.5), (2.0, 0.5), (2.01, 0.0)]),
    (0.5, [(-0.01, 0.0), (0.0, 0.2), (0.3, 0.2), (0.49, 0.2), (0.5, 0.6), (1.0, 0.6), (2.0, 0.6), (2.01, 0.0)]),
    (0.0, [(0.0, 0.2), (0.99, 0.2), (1.0, 0.8), (2.0, 0.8)]),
]


@pytest.mark.parametrize(("decay", "points"), EDGES)
def test_the_slope_of_the_rate_gradient(decay: float, points: list[tuple[float, float]]) -> None:
    # (1 - .2 + .2 decay)/(1 + decay) on [1 - decay, 2], .2 on [0, 1 - decay), else 0.
    current = column(*[mean for mean, _ in points])
    slope = RateGradient().slope(current, current, LIF(decay=decay)).flatten().tolist()
    assert slope == pytest.approx([wanted for _, wanted in points])
    found = gradients(RateGradient(), current.repeat(3, 1, 1), LIF(decay=decay), steps=3)
    assert torch.allclose(found, torch.tensor([wanted for _, wanted in points], dtype=torch.float64).expand_as(found))


def test_the_rate_gradient_knows_the_mean_alone() -> None:
    # Means 1.0 (inside), 2.5 (outside): single steps may lie anywhere. Every step has the same slope.
    current = torch.tensor([[5.0, 5.0], [-3.0, 0.0]], dtype=torch.float64)[:, None]
    upstream = torch.tensor([[2.0, 2.0], [-7.0, -7.0]], dtype=torch.float64)[:, None]
    found = gradients(RateGradient(), current, LIF(), steps=2, upstream=upstream)
    assert found.flatten().tolist() == [1.0, 0.0, -3.5, 0.0]


def test_the_threshold_scales_axis_and_slope() -> None:
    current = column(-0.1, 0.5, 1.5, 4.0, 4.1)
    slope = RateGradient().slope(current, current, LIF(decay=0.5, threshold=2.0)).flatten().tolist()
    assert slope == pytest.approx([0, 0.1, 0.3, 0.3, 0])


def test_the_floor_is_free() -> None:
    slope = RateGradient(floor=0.0).slope(column(0.1, 1.0), column(0.1, 1.0), LIF(decay=0.5)).flatten().tolist()
    assert slope == pytest.approx([0, 1 / 1.5])


def test_fired_mask_by_hand() -> None:
    # Never fires, fires once in four steps, fires always, fires exactly at the threshold.
    current = column(0.2, 0.3, 2.0, 1.0, steps=4)
    upstream = torch.arange(1.0, 17.0, dtype=torch.float64).reshape(4, 1, 4)
    found = gradients(FiredMask(), current, LIF(), steps=4, upstream=upstream)
    assert torch.equal(found, upstream * torch.tensor([0.0, 1.0, 1.0, 1.0]))


@pytest.mark.parametrize("rule", [RateGradient(), FiredMask()])
def test_a_current_given_once_gets_the_sum_over_time(rule: GradientRule) -> None:
    upstream = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    current = torch.rand(1, 2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2
    once = gradients(rule, current, LIF(), steps=4, upstream=upstream)
    full = gradients(rule, current.repeat(4, 1, 1), LIF(), steps=4, upstream=upstream)
    assert once.shape == current.shape
    assert torch.allclose(once, full.sum(0, keepdim=True))


def test_bptt_takes_the_attackers_surrogate() -> None:
    current = torch.full((1, 1, 1), 0.75, dtype=torch.float64)
    neuron = LIF(surrogate=Triangle(gamma=0.5))
    assert float(gradients(BPTT(), current, neuron, steps=1)) == pytest.approx((0.5 - 0.25) / 0.25)
    assert float(gradients(BPTT(surrogate=Triangle(gamma=2)), current, neuron, steps=1)) == pytest.approx(1.75 / 4)
    assert float(gradients(BPTT(surrogate=Sigmoid(alpha=4)), current, neuron, steps=1)) == pytest.approx(
        4 * 0.19661193324148185
    )


@pytest.mark.parametrize("rule", [RateGradient(), FiredMask()])
def test_slope_rules_watch_without_gradients(rule: GradientRule) -> None:
    current = torch.rand(4, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    watch = Watch(moments=True, bands=(0.5,), potential=True)
    _, seen = rule.spikes(current, steps=4, dynamics=LIF(), surrogate=Triangle(), watch=watch)
    _, plain = BPTT().spikes(current, steps=4, dynamics=LIF(), surrogate=Triangle(), watch=watch)
    assert seen is not None
    assert plain is not None
    for name in ("mean", "var", "hinge", "potential"):
        assert torch.equal(getattr(seen, name), getattr(plain, name))
        assert not getattr(seen, name).requires_grad
