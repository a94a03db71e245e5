"""Learned windows and learned mixtures: gradients against numeric ones, exact spikes in eval mode, ranges."""

import math

import pytest
import torch
from torch import Tensor

from snnguard import rng
from snnguard.neurons import (
    BPTT,
    LIF,
    Dspike,
    Neuron,
    RateGradient,
    Rectangular,
    Sigmoid,
    Trait,
    Triangle,
    mechanisms_of,
    use_rule,
)
from snnguard.neurons.learned import AdaptiveSmooth, LearnedWindow, Smoothing, Window
from snnguard.neurons.temperature import DspikeFiring

DOUBLE = torch.float64


def current(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) + 0.4


def neuron(trait: Trait, *, steps: int = 4, training: bool = True, **settings: object) -> Neuron:
    return LIF(traits=(trait,), **settings).build(steps=steps).train(training)


def weighted(spikes: Tensor) -> Tensor:
    return (spikes * current(*spikes.shape, seed=9, dtype=spikes.dtype)).sum()


def both(module: Neuron, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    spikes = module(x)
    return spikes.detach(), torch.autograd.grad(weighted(spikes), x)[0]


EVERY = [LearnedWindow(start=0.7), AdaptiveSmooth(p=0.5), DspikeFiring()]


@pytest.mark.parametrize("trait", EVERY, ids=lambda trait: trait.kind)
def test_eval_mode_is_plain_lif(trait: Trait) -> None:
    assert not trait.noisy
    x = current(4, 3, 50)
    plain = LIF(decay=0.8).build(steps=4)(x)
    assert torch.equal(neuron(trait, training=False, decay=0.8)(x), plain)
    assert 0 < plain.mean() < 1


@pytest.mark.parametrize("trait", [EVERY[0], EVERY[2]], ids=lambda trait: trait.kind)
def test_two_of_them_spike_in_training_too(trait: Trait) -> None:
    x = current(4, 3, 50)
    assert torch.equal(neuron(trait)(x), LIF().build(steps=4)(x))


@pytest.mark.parametrize("trait", EVERY, ids=lambda trait: trait.kind)
@pytest.mark.parametrize("rule", [RateGradient(), BPTT(surrogate=Sigmoid())], ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_rules_do_not_move_the_forward(trait: Trait, rule: object, training: bool) -> None:
    module, x = neuron(trait, training=training), current(4, 3, 50)
    with rng.scope(0):
        plain, gradient = both(module, x)
    with rng.scope(0), use_rule(module, rule):
        ruled, other = both(module, x)
    assert torch.equal(ruled, plain)
    assert not torch.equal(gradient, other)


# ---- LSG


@pytest.mark.parametrize("gamma", [0.1, 0.6, 1.0, 3.7])
def test_the_window_is_a_triangle_of_that_width(gamma: float) -> None:
    module = neuron(LearnedWindow(start=gamma)).double()
    (window,) = mechanisms_of(module, Window)
    assert float(window.gamma.detach()) == pytest.approx(gamma, rel=1e-6)
    window.g.data.fill_(math.log(math.expm1(gamma)))  # the start is a number in single precision
    x = current(4, 3, 50, dtype=DOUBLE)
    spikes, gradient = both(module, x)
    wanted, by_surrogate = both(LIF(surrogate=Triangle(gamma=gamma)).build(steps=4), x)
    assert torch.equal(spikes, wanted)
    torch.testing.assert_close(gradient, by_surrogate, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("g", [-2.0, 0.3, 3.0])
def test_the_gradient_of_g_is_the_numeric_one_of_the_smooth_step(g: float) -> None:
    window = Window(LearnedWindow()).double()
    ubar = current(200, dtype=DOUBLE) * 2
    window.g.data.fill_(g)
    (analytic,) = torch.autograd.grad(weighted(window.smooth(ubar)), window.g)

    def by_hand(at: float) -> float:
        # 1/2 + z - z|z|/2 within the window, 0 and 1 outside, z = ubar / log(1 + e^g)
        gamma = math.log1p(math.exp(at))
        weights = current(200, seed=9, dtype=DOUBLE).tolist()
        z = [max(-1.0, min(1.0, u / gamma)) for u in ubar.tolist()]
        return sum(w * (0.5 + v - 0.5 * v * abs(v)) for w, v in zip(weights, z, strict=True))

    numeric = (by_hand(g + 1e-6) - by_hand(g - 1e-6)) / 2e-6
    assert abs(numeric) > 1e-3
    assert float(analytic) == pytest.approx(numeric, rel=1e-6)


def test_g_learns_through_the_spikes_of_one_step() -> None:
    # One step: the spikes' gradient for g is that of the smooth step at I - threshold.
    module = neuron(LearnedWindow(start=0.8), steps=1).double()
    (window,) = mechanisms_of(module, Window)
    x = current(1, 4, 30, dtype=DOUBLE)
    (through,) = torch.autograd.grad(weighted(module(x)), window.g)
    (direct,) = torch.autograd.grad(weighted(window.smooth(x - 1)), window.g)
    assert through == direct
    assert through != 0


def test_projection_puts_the_width_back_and_leaves_those_inside_alone() -> None:
    window = Window(LearnedWindow(start=1.0, low=0.1, high=4.0))
    before = window.g.detach().clone()
    window.project()
    assert torch.equal(window.g, before)
    for g, gamma in ((-50.0, 0.1), (50.0, 4.0)):
        window.g.data.fill_(g)
        window.project()
        assert float(window.gamma.detach()) == pytest.approx(gamma, rel=1e-6)
        # a gradient still leads back into the range
        (back,) = torch.autograd.grad(window.smooth(torch.tensor([0.05])).sum(), window.g)
        assert back != 0


def test_a_start_outside_the_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"5\.0 does not lie within"):
        LearnedWindow(start=5.0)


# ---- ASGL


def test_only_spikes_are_left_at_p_1_with_the_gradient_of_the_smooth_step() -> None:
    module, x = neuron(AdaptiveSmooth(alpha=0.5, p=1.0), decay=0.9), current(4, 3, 50)
    spikes, gradient = both(module, x)
    # clamp(ubar / 2 + 1/2) has the derivative 1/2 on (-1, 1): a rectangle of width 2
    wanted, by_surrogate = both(LIF(decay=0.9, surrogate=Rectangular(width=2.0)).build(steps=4), x)
    assert torch.equal(spikes, wanted)
    torch.testing.assert_close(gradient, by_surrogate)


def test_only_the_smooth_step_is_left_at_p_0() -> None:
    module, x = neuron(AdaptiveSmooth(alpha=1.5, p=0.0), detach_reset=False).double(), current(4, 3, 50, dtype=DOUBLE)
    outputs, gradient = both(module, x)

    def smooth_network(x: Tensor) -> Tensor:
        v, out = torch.zeros_like(x[0]), []
        for given in x:
            u = v + given
            y = (float(torch.tensor(1.5).log().double().exp()) * (u - 1) + 0.5).clamp(0, 1)
            v = u * (1 - y)
            out.append(y)
        return torch.stack(out)

    torch.testing.assert_close(outputs, smooth_network(x), rtol=1e-12, atol=1e-12)
    assert ((outputs > 0) & (outputs < 1)).any()
    # No straight-through step is left: this is the true gradient of a smooth network.
    y = x.clone().requires_grad_()
    torch.testing.assert_close(gradient, torch.autograd.grad(weighted(smooth_network(y)), y)[0])


def test_the_share_of_spikes_is_p_and_drawn_per_element() -> None:
    n = 40_000
    module = neuron(AdaptiveSmooth(p=0.3), steps=1)
    with rng.scope(1):
        out = module(torch.full((1, 1, n), 1.2))[0, 0]  # P(0.2) = 0.7
    share = (out == 1).float().mean().item()
    assert abs(share - 0.3) < 4 * math.sqrt(0.3 * 0.7 / n)
    assert out[out != 1].unique().tolist() == pytest.approx([0.7])
    assert abs((out[1:].eq(1) & out[:-1].eq(1)).float().mean().item() - 0.09) < 0.01


def test_the_slope_learns_and_p_does_not() -> None:
    module = neuron(AdaptiveSmooth(alpha=2.0, p=0.5), steps=1).double()
    (layer,) = mechanisms_of(module, Smoothing)
    assert [name for name, _ in layer.named_parameters()] == ["a"]
    assert [name for name, _ in layer.named_buffers()] == ["p"]
    x = torch.tensor([[[1.1, 0.9, 3.0, -1.0]]], dtype=DOUBLE)
    (by_a,) = torch.autograd.grad((module(x) * torch.tensor([1.0, 10.0, 100.0, 1000.0])).sum(), layer.a)
    # dP/da = alpha ubar inside the ramp, nothing outside
    assert float(by_a) == pytest.approx(2 * 0.1 - 10 * 2 * 0.1, rel=1e-6)


# ---- Dspike


@pytest.mark.parametrize("b", [1.0, 3.0, 5.0])
def test_the_temperature_is_that_of_the_surrogate(b: float) -> None:
    module, x = neuron(DspikeFiring(b=3.0)).double(), current(4, 3, 50, dtype=DOUBLE)
    module.mechanisms[0].b.fill_(b)
    gradient = both(module, x)[1]
    torch.testing.assert_close(gradient, both(LIF(surrogate=Dspike(b=b)).build(steps=4), x)[1])
    assert list(module.parameters()) == []
    assert "mechanisms.0.b" in module.state_dict()


@pytest.mark.parametrize("trait", EVERY, ids=lambda trait: trait.kind)
@pytest.mark.parametrize("value", [-1e6, 0.0, 1.0, 1e6])
def test_gradients_are_finite_for_silent_and_saturated_layers(trait: Trait, value: float) -> None:
    module, x = neuron(trait), torch.full((4, 2, 3), value, requires_grad=True)
    found = torch.autograd.grad(module(x).sum(), [x, *module.parameters()])
    assert all(torch.isfinite(g).all() for g in found)
