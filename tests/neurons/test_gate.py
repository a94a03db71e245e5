"""Stochastic gates: how often they open, what they cost, and which way they learn."""

import pytest
import torch
from torch import Tensor

from snnguard import rng
from snnguard.neurons import LIF, Neuron
from snnguard.neurons.gate import Gate, StochasticGate

Q = (0.1, 0.3, 0.5, 0.8, 1.0)
ALWAYS = 2.0  # a current that makes LIF fire in every step


def current(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype) + 0.4


def gated(*, steps: int, q: tuple[float, ...] = (), features: int = 5, **settings: object) -> tuple[Neuron, Gate]:
    """A neuron with gates, open with probabilities `q` if given, and its gates."""
    neuron = LIF(traits=(StochasticGate(**settings),)).build(steps=steps)
    [gate] = neuron.mechanisms
    assert isinstance(gate, Gate)
    neuron(torch.zeros(1, 1, len(q) or features))
    if q:
        gate.q.data.copy_(torch.tensor(q))
    return neuron, gate


@pytest.mark.parametrize("training", [True, False])
def test_it_is_open_as_often_as_q_says(training: bool) -> None:
    steps, images = 40, 500
    neuron, _ = gated(steps=steps, q=Q)
    with rng.scope(0):
        open_ = neuron.train(training)(torch.full((1, images, len(Q)), ALWAYS))
    assert set(open_.unique().tolist()) <= {0.0, 1.0}
    q = torch.tensor(Q)
    error = 3 * (q * (1 - q) / (steps * images)).sqrt()
    assert ((open_.mean((0, 1)) - q).abs() <= error).all()  # q = 1: never closed, not once


def test_draws_are_independent_over_time_images_and_neurons() -> None:
    steps, images, q = 40, 500, 0.5
    neuron, _ = gated(steps=steps, q=(q,) * 8)
    with rng.scope(1):
        open_ = neuron(torch.full((1, images, 8), ALWAYS)).detach() - q
    for axis in range(3):
        product = open_ * open_.roll(1, axis)
        assert abs(float(product.mean())) <= 4 * q * (1 - q) / product.numel() ** 0.5
    assert all(not torch.equal(open_[a], open_[b]) for a in range(5) for b in range(a))
    assert all(not torch.equal(open_[:, a], open_[:, b]) for a in range(5) for b in range(a))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("inference", ["draw", "expectation"])
def test_open_for_good_it_is_the_plain_neuron_bit_for_bit(training: bool, inference: str) -> None:
    x = current(4, 30, 5).requires_grad_()
    neuron, gate = gated(steps=4, inference=inference)
    plain = LIF().build(steps=4)
    assert torch.equal(gate.q, torch.ones(5))
    one, other = neuron.train(training)(x), plain(x)
    assert torch.equal(one, other)
    weights = current(4, 30, 5)
    [g], [h] = (torch.autograd.grad((spikes * weights).sum(), x) for spikes in (one, other))
    assert torch.equal(g, h)
    assert g.any()


def test_more_open_means_more_spikes() -> None:
    """The sign of dE[out]/dq, by the difference of two means far outside their errors."""
    x = current(4, 20_000, 3)
    low, _ = gated(steps=4, q=(0.4,) * 3)
    high, _ = gated(steps=4, q=(0.6,) * 3)
    with rng.scope(8):  # not the seed of the current
        difference = high(x).sum((0, 1)) - low(x).sum((0, 1))
    spikes = LIF().build(steps=4)(x).sum((0, 1))
    # d E[out] / dq = number of spikes; each of the two sums has a variance below spikes / 4.
    assert ((difference - 0.2 * spikes).abs() <= 4 * (spikes / 2).sqrt()).all()
    assert (difference > 0).all()


def test_the_gradient_is_the_sum_of_the_spikes_it_gates() -> None:
    x, weights = current(4, 7, 5), current(4, 7, 5)
    spikes = LIF().build(steps=4)(x)
    for q in (Q, (1.0,) * 5):  # at q = 1 too, where a clip would let nothing through
        neuron, gate = gated(steps=4, q=q)
        (gradient,) = torch.autograd.grad((neuron(x) * weights).sum(), gate.q)
        torch.testing.assert_close(gradient, (spikes * weights).sum((0, 1)))


def test_a_gate_opens_where_its_spikes_lower_the_loss() -> None:
    neuron, gate = gated(steps=3, q=(0.5, 0.5, 0.5))
    harm = torch.tensor([-1.0, 0.0, 1.0])
    loss = (neuron(torch.full((1, 4, 3), ALWAYS)) * harm).mean()
    loss.backward()
    torch.optim.SGD([gate.q], lr=0.1).step()
    assert gate.q[0] > 0.5
    assert gate.q[1] == 0.5
    assert gate.q[2] < 0.5


def test_a_closed_gate_passes_no_gradient_to_what_is_before_it() -> None:
    x = current(1, 200, 2).requires_grad_()
    neuron, _ = gated(steps=1, q=(0.5, 0.5))
    with rng.scope(8):
        out = neuron(x)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    fired = LIF().build(steps=1)(x).detach() > 0
    closed = fired & (out == 0)
    assert 30 < closed.sum() < fired.sum() - 30
    assert not gradient[closed].any()


def test_expectation_multiplies_in_eval_mode_and_draws_in_training() -> None:
    x = current(4, 30, 5)
    neuron, _ = gated(steps=4, q=Q, inference="expectation")
    assert not neuron.settings.noisy
    assert gated(steps=4)[0].settings.noisy
    before = torch.get_rng_state()
    out = neuron.eval()(x)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(out, LIF().build(steps=4)(x) * torch.tensor(Q))
    assert torch.equal(neuron(x), out)
    with rng.scope(0):
        drawn = neuron.train()(x)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}


def test_each_neuron_of_a_layer_has_one_gate_with_the_given_start() -> None:
    neuron = LIF(traits=(StochasticGate(start=0.7),)).build(steps=3)
    out = neuron(current(3, 2, 4, 5, 6))
    [gate] = neuron.mechanisms
    assert out.shape == (3, 2, 4, 5, 6)
    assert gate.q.shape == (4, 5, 6)
    assert torch.equal(gate.q, torch.full((4, 5, 6), 0.7))


@pytest.mark.parametrize("floor", [0.1, 0.4])
def test_it_is_projected_onto_what_probabilities_may_be(floor: float) -> None:
    _, gate = gated(steps=1, floor=floor, q=(-2.0, 0.0, 0.39, 0.6, 1.0, 1.5))
    gate.project()
    assert gate.q.tolist() == pytest.approx([max(floor, v) for v in (0.0, 0.0, 0.39, 0.6, 1.0)] + [1.0])
    assert gate.q.requires_grad


def test_it_starts_where_it_may_be() -> None:
    with pytest.raises(ValueError, match="floor"):
        StochasticGate(start=0.05, floor=0.1)
