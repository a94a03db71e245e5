"""Learned leaks against plain LIF, bit for bit, and their gradients against two steps by hand."""

import math

import pytest
import torch
from torch import Tensor

from snnguard.neurons import LIF, Neuron, Triangle, mechanisms_of, unroll
from snnguard.neurons.leak import EvolutionaryLeak, LayerLeak, LearnedLeak, NeuronLeak

DOUBLE = torch.float64


def reference(current: Tensor, decay: float) -> Tensor:
    settings = LIF(decay=decay)
    return unroll(current, steps=len(current), surrogate=settings.surrogate, **settings.constants())[0]


def noise(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype) + 0.3


def evolutionary(steps: int, start: float, *, detach_reset: bool = False) -> tuple[Neuron, NeuronLeak]:
    neuron = LIF(detach_reset=detach_reset, traits=(EvolutionaryLeak(start=start),)).build(steps=steps)
    return neuron, mechanisms_of(neuron, NeuronLeak)[0]


def plif(steps: int, start: float) -> tuple[Neuron, LayerLeak]:
    neuron = LIF(traits=(LearnedLeak(start=start),)).build(steps=steps)
    return neuron, mechanisms_of(neuron, LayerLeak)[0]


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("decay", [0.0, 0.37, 0.9, 1.0])
def test_a_constant_evolutionary_leak_is_the_decay_of_lif_bit_for_bit(decay: float, dtype: torch.dtype) -> None:
    current = noise(6, 4, 30, dtype=dtype)
    ours, _ = evolutionary(6, decay)
    grads = []
    for spikes_of in (ours, lambda x: reference(x, decay)):
        x = current.clone().requires_grad_()
        spikes = spikes_of(x)
        grads.append((spikes.detach(), torch.autograd.grad(spikes.square().sum(), x)[0]))
    assert 0 < grads[0][0].mean() < 1
    assert torch.equal(grads[0][0], grads[1][0])
    torch.testing.assert_close(grads[0][1], grads[1][1])


def test_plif_at_its_start_is_lif_with_a_decay_of_one_half_bit_for_bit() -> None:
    current = noise(6, 4, 30)
    assert torch.equal(plif(6, 0.5)[0](current), reference(current, 0.5))
    assert not torch.equal(plif(6, 0.9)[0](current), reference(current, 0.5))


@pytest.mark.parametrize("w", [-3.0, 0.0, 1.2])
def test_plif_decays_by_the_sigmoid_of_w(w: float) -> None:
    neuron, leak = plif(2, 0.5)
    with torch.no_grad():
        leak.w.fill_(w)
    # One step of 0.8, then nothing: a membrane of sigmoid(w) * 0.8, so it fires with what is missing to 1.
    missing = 1 - 0.8 / (1 + math.exp(-w))
    for more, fires in ((1e-4, 1), (-1e-4, 0)):
        assert neuron(torch.tensor([0.8, missing + more])[:, None, None])[1].item() == fires


@pytest.mark.parametrize("start", [0.05, 0.5, 0.95])
def test_plif_starts_at_the_decay_it_was_given(start: float) -> None:
    assert plif(2, start)[1].leak(torch.zeros(1, 2, 3))[1].item() == pytest.approx(start)


def test_the_gradients_of_two_steps_by_hand() -> None:
    # u1 = 0.6, s1 = 0, v1 = 0.6; u2 = L1 * 0.6 + 0.6 = 0.9 with L1 = 1/2; triangle: h(u1) = 0.6, h(u2) = 0.9.
    # ds2/dL1 = h(u2) v1 = 0.54; ds2/dI2 = 0.9; ds2/dI1 = h(u2) L1 (1 - u1 h(u1)) = 0.9 * 0.5 * 0.64 = 0.288.
    current = torch.full((2, 1, 1), 0.6, dtype=DOUBLE, requires_grad=True)
    neuron, leak = evolutionary(2, 0.5)
    neuron(current)  # gives L its shape
    by_leak, by_current = torch.autograd.grad(neuron(current)[1].sum(), (leak.each, current))
    assert by_leak.flatten().tolist() == pytest.approx([0.0, 0.54])
    assert by_current.flatten().tolist() == pytest.approx([0.288, 0.9])
    layer, plain = plif(2, 0.5)
    layer.double()
    (by_w,) = torch.autograd.grad(layer(current)[1].sum(), plain.w)
    assert float(by_w) == pytest.approx(0.54 / 4)  # sigmoid'(0) = 1/4


def test_the_gradient_agrees_with_a_difference_of_the_smooth_unrolling() -> None:
    # Before any spike u[t] is a polynomial in L, and the last step's surrogate primitive differentiates like its spike.
    x, l1, l2, h, surrogate = (0.3, 0.2, 0.4), 0.7, 0.4, 1e-5, Triangle()
    neuron, leak = evolutionary(3, 0.8, detach_reset=True)
    current = torch.tensor(x, dtype=DOUBLE)[:, None, None]
    neuron(current)
    with torch.no_grad():
        leak.each.copy_(torch.tensor([0.9, l1, l2])[:, None])
    (found,) = torch.autograd.grad(neuron(current)[2].sum(), leak.each)

    def last(l1: float, l2: float) -> float:
        u = l2 * (l1 * x[0] + x[1]) + x[2]
        return float(surrogate.primitive(torch.tensor(u - 1, dtype=DOUBLE)))

    by_l1 = (last(l1 + h, l2) - last(l1 - h, l2)) / (2 * h)
    by_l2 = (last(l1, l2 + h) - last(l1, l2 - h)) / (2 * h)
    assert found.flatten().tolist() == pytest.approx([0.0, by_l1, by_l2], rel=1e-5)


def test_the_first_leak_never_acts() -> None:
    neuron, leak = evolutionary(4, 1.0)
    current = noise(4, 3, 5)
    before = neuron(current)
    assert leak.each.shape == (4, 5)
    (gradient,) = torch.autograd.grad(before.sum(), leak.each)
    assert not gradient[0].any()
    assert gradient[1:].any()
    with torch.no_grad():
        leak.each[0] = 17
    assert torch.equal(neuron(current), before)
    with torch.no_grad():
        leak.each[1] = 0
    assert not torch.equal(neuron(current), before)
