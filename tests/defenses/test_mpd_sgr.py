"""MPD-SGR against its closed forms, hand-made moments and a simulation of Theorem 1."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnguard.defenses import MPDSGR, Batch, Defense, Step, omega
from snnguard.defenses.mpd_sgr import norms_before, theorem_1
from snnguard.errors import RequestError
from snnguard.layers import TDBN, watching
from snnguard.networks import build
from snnguard.neurons import LIF, Membrane, Neuron, Rectangular, Triangle, neurons_of, plif

DOUBLE = torch.float64


def phi(z: Tensor) -> Tensor:
    return torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def penalty(defense: Defense, model: nn.Module, membranes: dict[str, Membrane], progress: float = 0.5) -> Tensor:
    x = torch.zeros(1, 1)
    step = Step(progress=progress, seed=0, membranes=membranes)
    return defense.penalty(model, Batch(x=x, y=torch.tensor([0]), clean=x), x, step)


def seen(mean: Any, var: Any) -> Membrane:
    return Membrane(mean=torch.tensor(mean, dtype=DOUBLE), var=torch.tensor(var, dtype=DOUBLE))


def test_the_published_value_at_initialisation() -> None:
    value = omega(torch.tensor(-1.0, dtype=DOUBLE), torch.tensor(1.0, dtype=DOUBLE), 1.0)
    assert round(float(value), 4) == 0.4772


def test_it_is_the_share_of_gaussian_samples_in_the_window() -> None:
    generator = torch.Generator().manual_seed(0)
    n = 200_000
    z = torch.randn(n, generator=generator, dtype=DOUBLE)
    for mean, sigma, gamma in ((-1.0, 1.0, 1.0), (0.0, 0.3, 0.5), (2.0, 1.5, 1.0), (-3.0, 0.5, 1.0)):
        share = ((mean + sigma * z).abs() < gamma).double().mean()
        value = float(omega(torch.tensor(mean, dtype=DOUBLE), torch.tensor(sigma, dtype=DOUBLE), gamma))
        assert abs(share - value) < 4 * math.sqrt(value * (1 - value) / n) + 1e-4


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_its_gradients_are_equations_14_and_15(gamma: float) -> None:
    mean, sigma = torch.meshgrid(
        torch.linspace(-3, 3, 13, dtype=DOUBLE), torch.linspace(0.2, 3, 8, dtype=DOUBLE), indexing="ij"
    )
    mean, sigma = mean.clone().requires_grad_(), sigma.clone().requires_grad_()
    by_mean, by_sigma = torch.autograd.grad(omega(mean, sigma, gamma).sum(), (mean, sigma))
    plus, minus = (mean + gamma) / sigma, (mean - gamma) / sigma
    torch.testing.assert_close(by_mean, (phi(plus) - phi(minus)) / sigma)
    torch.testing.assert_close(by_sigma, (-plus * phi(plus) + minus * phi(minus)) / sigma)


def test_it_pushes_the_mean_down_and_the_spread_up_at_initialisation() -> None:
    mean, sigma = (torch.tensor(v, dtype=DOUBLE, requires_grad=True) for v in (-1.0, 1.0))
    by_mean, by_sigma = torch.autograd.grad(omega(mean, sigma, 1.0), (mean, sigma))
    assert round(float(by_mean), 3) == 0.345
    assert round(float(by_sigma), 3) == -0.108


def two_layers(**settings: Any) -> nn.Module:
    return nn.Sequential(LIF(**settings).build(steps=2), LIF(**settings).build(steps=2))


def by_hand(mean: float, var: float, gamma: float = 1.0) -> float:
    def cdf(z: float) -> float:
        return 0.5 * (1 + math.erf(z / math.sqrt(2)))

    return cdf((mean + gamma) / math.sqrt(var)) - cdf((mean - gamma) / math.sqrt(var))


WIDE = [[0.1, -0.4, 2.0], [0.0, 0.3, -1.0]], [[1.0, 0.5, 2.0], [0.7, 0.2, 1.0]]
NARROW = [[-1.0], [-2.0]], [[1.0], [4.0]]


def test_both_weightings_on_two_layers_by_hand() -> None:
    wide = [by_hand(m, v) for ms, vs in zip(*WIDE, strict=True) for m, v in zip(ms, vs, strict=True)]
    narrow = [by_hand(m[0], v[0]) for m, v in zip(*NARROW, strict=True)]
    membranes = {"0": seen(*WIDE), "1": seen(*NARROW)}
    uniform = penalty(MPDSGR(eta=0.5), two_layers(), membranes)
    assert float(uniform) == pytest.approx(0.5 * (sum(wide) / 6 + sum(narrow) / 2) / 2)
    channel = penalty(MPDSGR(eta=0.5, layer_weight="channel"), two_layers(), membranes)
    assert float(channel) == pytest.approx(0.5 * (sum(wide) + sum(narrow)) / 8)
    assert float(uniform) != pytest.approx(float(channel), rel=1e-2)


def test_gamma_is_each_neurons_own_window_unless_given() -> None:
    membranes = {"0": seen([[0.3]], [[1.0]]), "1": seen([[0.3]], [[1.0]])}
    model = nn.Sequential(
        LIF(surrogate=Triangle(gamma=0.5)).build(steps=1), LIF(surrogate=Rectangular(width=3.0)).build(steps=1)
    )
    own = penalty(MPDSGR(eta=1.0), model, membranes)
    assert float(own) == pytest.approx((by_hand(0.3, 1, 0.5) + by_hand(0.3, 1, 1.5)) / 2)
    assert float(penalty(MPDSGR(eta=1.0, gamma=0.7), model, membranes)) == pytest.approx(by_hand(0.3, 1, 0.7))


def test_the_weight_follows_its_schedule_and_zero_watches_nothing() -> None:
    membranes = {"0": seen([[-1.0]], [[1.0]]), "1": seen([[-1.0]], [[1.0]])}
    values = {
        r: [penalty(MPDSGR(eta=1.0, rise=r), two_layers(), membranes, p) for p in (0, 0.5, 1)] for r in ("linear", "cosine")
    }
    for rise in values.values():
        assert rise[0] is None
        assert float(rise[1]) == pytest.approx(0.4772 / 2, abs=1e-4)
        assert float(rise[2]) == pytest.approx(0.4772, abs=1e-4)
    assert penalty(MPDSGR(eta=0), two_layers(), membranes) is None
    assert not MPDSGR(eta=0).watch
    assert MPDSGR().watch.moments
    assert not MPDSGR(moments="analytic").watch


CURRENTS = {
    "silent": torch.full((2, 4, 3, 2, 2), -50.0),
    "saturated": torch.full((2, 4, 3, 2, 2), 50.0),
    "constant at the threshold": torch.full((2, 4, 3, 2, 2), 1.0),
    "a batch of one value": torch.zeros(2, 1, 3, 1, 1),
    "enormous": torch.full((2, 4, 3, 2, 2), 1e10),
    "ordinary": torch.randn(2, 4, 3, 2, 2, generator=torch.Generator().manual_seed(0)),
}


@pytest.mark.parametrize("name", CURRENTS)
def test_penalty_and_gradient_are_finite_whatever_the_membrane(name: str) -> None:
    current = CURRENTS[name].clone().requires_grad_()
    model, defense = nn.Sequential(LIF().build(steps=2)), MPDSGR(eta=1.0)
    with watching(model, defense.watch) as passes:
        model(current)
    term = penalty(defense, model, {key: found[0] for key, found in passes.items()})
    (gradient,) = torch.autograd.grad(term, current)
    assert 0 <= float(term.detach()) <= 1
    assert torch.isfinite(gradient).all()
    if name in ("silent", "saturated", "enormous"):
        assert float(term.detach()) == 0
    if name == "ordinary":
        assert gradient.abs().sum() > 0


def test_the_empirical_term_is_that_of_the_membranes_own_moments() -> None:
    model = build("vgg4-tiny", classes=3, image_shape=(1, 8, 8), steps=2).train()
    defense, found = MPDSGR(eta=0.3), {}
    hooks = [n.register_forward_pre_hook(lambda m, a: found.__setitem__(m, a[0])) for n in neurons_of(model).values()]
    with watching(model, defense.watch) as passes:
        model(torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    for hook in hooks:
        hook.remove()
    layers = []
    for neuron in neurons_of(model).values():
        current = found[neuron].detach().double().expand(2, *found[neuron].shape[1:])
        v, values = torch.zeros_like(current[0]), []
        for t in range(2):
            u = v + current[t]
            v = torch.where(u >= 1, torch.zeros_like(u), u)
            columns = (u - 1).transpose(0, 1).flatten(1)
            values += [by_hand(float(c.mean()), max(float(c.var(unbiased=False)), 1e-6)) for c in columns]
        layers.append(sum(values) / len(values))
    term = penalty(defense, model, {name: found[0] for name, found in passes.items()})
    assert len(layers) == 3  # two convolutions and one hidden layer; the readout has no neuron
    assert float(term.detach()) == pytest.approx(0.3 * sum(layers) / 3, rel=1e-4)


def norm(weight: float, bias: float, *, alpha: float = 1.0, threshold: float = 1.0) -> TDBN:
    layer = TDBN(1, alpha=alpha, threshold=threshold).double()
    nn.init.constant_(layer.weight, weight)
    nn.init.constant_(layer.bias, bias)
    return layer


def simulate(layer: TDBN, neuron: Neuron, n: int = 400_000) -> tuple[list[float], list[float]]:
    """Mean and variance of u - threshold under independent normalised currents, step by step."""
    generator, s = torch.Generator().manual_seed(0), neuron.settings
    layer.train()
    v, means, variances = torch.zeros(n, dtype=DOUBLE), [], []
    for _ in range(neuron.steps):
        drawn = torch.randn(n, 1, 1, 1, generator=generator, dtype=DOUBLE) * 3 + 5  # tdBN removes mean and scale
        u = s.decay * v + layer(drawn).detach().flatten()
        means.append(float(u.mean()) - s.threshold)
        variances.append(float(u.var()))
        v = u - s.threshold * (u >= s.threshold).double()
    return means, variances


CASES = [(1.0, 0.0, 1.0, 1.0, 1.0), (0.5, -0.3, 0.5, 1.0, 1.0), (0.8, 0.4, 0.9, 2.0, 0.7)]


@pytest.mark.parametrize(("weight", "bias", "decay", "threshold", "alpha"), CASES)
def test_theorem_1_is_exact_in_the_first_step(weight: float, bias: float, decay: float, threshold: float, alpha: float) -> None:
    layer = norm(weight, bias, alpha=alpha, threshold=threshold)
    neuron = LIF(decay=decay, threshold=threshold, reset="subtract").build(steps=1)
    mean, var = theorem_1(layer, neuron)
    means, variances = simulate(layer, neuron)
    assert float(mean.detach()) == pytest.approx(bias - threshold)
    assert float(var.detach()) == pytest.approx((weight * alpha * threshold) ** 2)
    assert float(mean.detach()) == pytest.approx(means[0], abs=1e-3)
    assert float(var.detach()) == pytest.approx(variances[0], rel=1e-2)


@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_theorem_1_holds_roughly_later_while_spikes_are_few(decay: float) -> None:
    layer = norm(0.4, 0.0)
    neuron = LIF(decay=decay, reset="subtract").build(steps=4)
    mean, var = theorem_1(layer, neuron)
    means, variances = simulate(layer, neuron)
    # Spikes take away the upper tail, which the theorem's variance does not know; the mean follows to a few hundredths.
    torch.testing.assert_close(mean.flatten().detach(), torch.tensor(means, dtype=DOUBLE), atol=0.05, rtol=0)
    torch.testing.assert_close(var.flatten().detach(), torch.tensor(variances, dtype=DOUBLE), atol=0.02, rtol=0.35)


def test_theorem_1_by_hand_for_two_steps() -> None:
    mean, var = theorem_1(norm(1.0, 0.2), LIF(decay=0.5).build(steps=2))
    rate = 0.5 * (1 + math.erf((0.2 - 1) / math.sqrt(2)))
    assert mean.flatten().tolist() == pytest.approx([0.2 - 1, 0.2 * 1.5 - 0.5 * rate - 1])
    assert var.flatten().tolist() == pytest.approx([1.0, 1.25])


def test_the_analytic_term_reaches_the_affine_parameters_alone() -> None:
    model = build("vgg4-tiny", classes=3, image_shape=(1, 8, 8), steps=2)
    term = penalty(MPDSGR(eta=1.0, moments="analytic"), model, {})
    gradients = dict(
        zip(dict(model.named_parameters()), torch.autograd.grad(term, list(model.parameters()), allow_unused=True), strict=True)
    )
    reached = {name for name, g in gradients.items() if g is not None and g.abs().sum() > 0}
    norms = {name for name, m in model.named_modules() if isinstance(m, TDBN)}
    assert reached == {f"{name}.{kind}" for name in norms for kind in ("weight", "bias")}


def test_the_analytic_term_by_hand_at_initialisation() -> None:
    # weight 1, bias 0, one step: mu = -1, sigma = 1 in every channel.
    model = build("vgg4-tiny", classes=3, image_shape=(1, 8, 8), steps=1)
    assert float(penalty(MPDSGR(eta=1.0, moments="analytic"), model, {}).detach()) == pytest.approx(0.47725, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("vgg4-tiny", (1, 8, 8), 2),  # two convolutions; not the hidden layer
        ("vgg5-slim", (1, 8, 8), 3),
        ("wrn16", (1, 8, 8), 13),  # pre-activation: every neuron follows a norm
        ("resnet19", (1, 8, 8), 9),  # the first, and the inner one of 8 blocks; not those behind a sum, nor the hidden layer
    ],
)
def test_only_neurons_right_behind_a_norm_are_analytic(name: str, shape: tuple[int, int, int], expected: int) -> None:
    model = build(name, classes=3, image_shape=shape, steps=1)
    found = norms_before(model)
    assert len(found) == expected
    neurons = neurons_of(model)
    assert set(found) <= set(neurons)
    for module in model.modules():
        if isinstance(module, TDBN):
            nn.init.normal_(module.bias, 1.0)  # lively, so that no two currents are equal by both being zero
    # What a neuron receives has as many channels as its norm, and is that norm's own output.
    outputs: dict[nn.Module, Tensor] = {}
    given: dict[nn.Module, Tensor] = {}
    for norm_layer in set(found.values()):
        norm_layer.register_forward_hook(lambda m, a, out: outputs.__setitem__(m, out))
    for neuron in neurons.values():
        neuron.register_forward_pre_hook(lambda m, a: given.__setitem__(m, a[0]))
    with torch.no_grad():
        model.eval()(torch.rand(2, *shape))
    matches = {path for path, n in neurons.items() if any(torch.equal(given[n].flatten(0, 1), o) for o in outputs.values())}
    assert matches == set(found)


def test_a_network_without_norms_has_no_analytic_form() -> None:
    with pytest.raises(RequestError, match="none"):
        penalty(MPDSGR(moments="analytic"), two_layers(), {})


def test_the_analytic_variance_may_vanish() -> None:
    model = build("vgg4-tiny", classes=3, image_shape=(1, 8, 8), steps=3)
    for module in model.modules():
        if isinstance(module, TDBN):
            nn.init.zeros_(module.weight)
    term = penalty(MPDSGR(eta=1.0, moments="analytic"), model, {})
    gradients = torch.autograd.grad(term, [p for m in model.modules() if isinstance(m, TDBN) for p in m.parameters()])
    assert all(torch.isfinite(g).all() for g in gradients)


def test_the_analytic_moments_are_those_of_lif_alone() -> None:
    model = build("vgg4-tiny", image_shape=(1, 8, 8), steps=2, neuron=plif())
    step = Step(progress=0.0, seed=0, membranes={})
    with pytest.raises(RequestError, match="not with learned-leak; take empirical ones"):
        MPDSGR(moments="analytic").penalty(model, None, None, step)  # type: ignore[arg-type]
