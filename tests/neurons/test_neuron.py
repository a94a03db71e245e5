"""Neuron modules: precision, rules put on and taken off, and the noisy neuron against the normal distribution."""

from statistics import NormalDist

import pytest
import torch
from torch import Tensor, nn

from snnguard import rng
from snnguard.errors import RequestError
from snnguard.neurons import BPTT, LIF, FiredMask, Neuron, RateGradient, Sigmoid, Watch, lif, neurons_of, nlif, use_rule

PHI = NormalDist().cdf


class Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = LIF().build(steps=2)
        self.inner = nn.Sequential(nn.Linear(3, 3), LIF(decay=0.5).build(steps=2))


def current(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + 0.4


def test_the_module_is_the_function() -> None:
    x = current(4, 3, 5)
    for settings in (LIF(), LIF(decay=0.5, threshold=0.7, reset="subtract", detach_reset=True, surrogate=Sigmoid())):
        wanted = lif(x, **{name: getattr(settings, name) for name in LIF.model_fields if name != "traits"})
        assert torch.equal(settings.build(steps=4)(x), wanted)


def test_a_wrong_number_of_steps_is_refused() -> None:
    neuron = LIF().build(steps=4)
    assert neuron(current(1, 2, 3)).shape == (4, 2, 3)
    with pytest.raises(RequestError, match=r"runs for 4 steps, found a current of shape \(3, 2, 3\)"):
        neuron(current(3, 2, 3))


def test_a_neuron_keeps_no_state() -> None:
    neuron, x = LIF(decay=0.9).build(steps=4), current(4, 3, 5)
    first = neuron(x)
    neuron(x + 1)
    assert torch.equal(neuron(x), first)
    assert neuron.state_dict() == {}
    assert list(neuron.parameters()) == []
    assert neuron.seen == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_comes_in_and_goes_out(dtype: torch.dtype) -> None:
    # The membrane is float32: 200 steps of 0.0101 add up to 2.02; in bfloat16 the sum would stall at about 2 ** -7 / 2 * 256.
    neuron = LIF(reset="subtract").build(steps=200)
    x = torch.full((200, 1, 1), 0.0101, dtype=dtype).requires_grad_()
    spikes = neuron(x)
    assert spikes.dtype == dtype
    assert torch.equal(spikes.float(), neuron(x.detach().float()))
    assert spikes.float().sum() == 2
    (gradient,) = torch.autograd.grad(spikes.float().sum(), x)
    assert gradient.dtype == dtype
    assert gradient.float().abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_watched_in_high(dtype: torch.dtype) -> None:
    neuron = LIF().build(steps=2)
    neuron.watch, neuron.seen = Watch(moments=True, potential=True), []
    x = current(2, 3, 4).to(dtype)
    neuron(x)
    (seen,) = neuron.seen
    assert seen.mean is not None
    assert seen.mean.dtype == torch.float32
    assert torch.equal(seen.potential[0], x[0].float() - 1)  # type: ignore[index]


def test_neurons_are_found_in_order() -> None:
    model = Deep()
    assert list(neurons_of(model)) == ["first", "inner.1"]
    assert all(isinstance(neuron, Neuron) for neuron in neurons_of(model).values())
    assert neurons_of(nn.Linear(2, 2)) == {}


def rules(model: nn.Module) -> list[object]:
    return [neuron.rule for neuron in neurons_of(model).values()]


def test_rules_are_put_on_nested_and_taken_off() -> None:
    model, outer, inner = Deep(), RateGradient(), FiredMask()
    with use_rule(model, outer):
        assert rules(model) == [outer, outer]
        with use_rule(model, inner):
            assert rules(model) == [inner, inner]
        with use_rule(model.inner, inner):
            assert rules(model) == [outer, inner]
        with use_rule(model, None):
            assert rules(model) == [outer, outer]
        assert rules(model) == [outer, outer]
    assert rules(model) == [None, None]


def test_rules_are_taken_off_on_error() -> None:
    model = Deep()
    with pytest.raises(ZeroDivisionError), use_rule(model, RateGradient()), use_rule(model, FiredMask()):
        raise ZeroDivisionError
    assert rules(model) == [None, None]


def test_a_rule_needs_a_neuron() -> None:
    with (
        pytest.raises(RequestError, match=r"rate\(\) was asked for, but Linear contains no SNNGuard neuron"),
        use_rule(nn.Linear(2, 2), RateGradient()),
    ):
        pass
    with pytest.raises(RequestError), use_rule(lambda x: x, RateGradient()):  # type: ignore[arg-type]
        pass
    with use_rule(nn.Linear(2, 2), None):
        pass


def test_a_rule_changes_the_gradient_alone() -> None:
    neuron = LIF().build(steps=3)
    x = torch.full((3, 1, 1), 0.6, requires_grad=True)
    found = {}
    for rule in (BPTT(), RateGradient(), FiredMask()):
        with use_rule(neuron, rule):
            spikes = neuron(x)
        found[rule.kind] = (spikes.tolist(), torch.autograd.grad(spikes[1].sum(), x)[0].flatten().tolist())
    assert len({str(spikes) for spikes, _ in found.values()}) == 1
    assert found["bptt"][1] == pytest.approx([0.512, 0.8, 0])
    assert found["rate"][1] == pytest.approx([0, 0.5, 0])
    assert found["fired-mask"][1] == pytest.approx([0, 1, 0])


@pytest.mark.parametrize("level", [0.6, 0.9, 1.0, 1.15, 1.4])
def test_nlif_fires_with_the_normal_probability(level: float) -> None:
    # decay 0: the membrane without this step's noise is the current itself, so every step is an independent draw.
    neuron = nlif(sigma=0.2, decay=0.0).build(steps=50)
    n = 50 * 400
    with rng.scope(1):
        rate = float(neuron(torch.full((1, 400, 1), level)).mean())
    p = PHI((level - 1) / 0.2)
    assert abs(rate - p) < 4 * (p * (1 - p) / n) ** 0.5


def test_nlif_with_memory_fires_with_the_normal_probability_of_what_is_watched() -> None:
    # Given the past, step t fires with Phi(ubar / sigma); the sum of (spike - probability) is a martingale.
    neuron = nlif(sigma=0.3, decay=0.9).build(steps=8)
    neuron.watch, neuron.seen = Watch(potential=True), []
    with rng.scope(2):
        spikes = neuron(current(8, 2000, 3) * 0.5).double()
    ubar = neuron.seen[0].potential
    assert ubar is not None
    p = torch.special.ndtr(ubar.double() / 0.3)
    error = (4 * (p * (1 - p)).sum() ** 0.5) / p.numel()
    assert abs(spikes.mean() - p.mean()) < error
    for step in range(8):
        error = 4 * (p[step] * (1 - p[step])).sum() ** 0.5
        assert abs((spikes[step] - p[step]).sum()) < error


def test_nlif_without_noise_is_lif_bit_for_bit() -> None:
    x = current(4, 3, 5)
    for training in (True, False):
        silent, plain = nlif(sigma=0.0, inference_noise=True, decay=0.9).build(steps=4), LIF(decay=0.9).build(steps=4)
        silent.train(training)
        assert torch.equal(silent(x), plain(x))
    assert not nlif(sigma=0.0, inference_noise=True).noisy


def test_nlif_in_eval_is_lif_unless_asked() -> None:
    x = current(4, 30, 5).requires_grad_()
    quiet, plain = nlif(sigma=0.5, decay=0.9).build(steps=4).eval(), LIF(decay=0.9).build(steps=4)
    before = torch.get_rng_state()
    assert torch.equal(quiet(x), plain(x))
    assert torch.equal(torch.get_rng_state(), before)
    one, other = (torch.autograd.grad(neuron(x).square().sum(), x)[0] for neuron in (quiet, plain))
    assert torch.equal(one, other)
    assert not nlif(sigma=0.5).noisy
    loud = nlif(sigma=0.5, inference_noise=True)
    assert loud.noisy
    module = loud.build(steps=4).eval()
    with rng.scope(0):
        assert not torch.equal(module(x), module(x))
    assert torch.equal(quiet.train(False)(x), plain(x))


def test_nlif_draws_from_the_scope() -> None:
    module, x = nlif(sigma=0.5).build(steps=4), current(4, 30, 5)
    with rng.scope(3):
        one = module(x)
    with rng.scope(3):
        assert torch.equal(module(x), one)
    with rng.scope(4):
        assert not torch.equal(module(x), one)


def test_a_static_current_gets_fresh_noise_in_every_step() -> None:
    module = nlif(sigma=0.5, decay=0.0).build(steps=4)
    with rng.scope(0):
        spikes = module(torch.ones(1, 500, 1))
    assert all(not torch.equal(spikes[a], spikes[b]) for a in range(4) for b in range(a))


def test_watched_potentials_leave_out_the_noise_of_the_step() -> None:
    # decay 0: what is watched is the current less the threshold, whatever the noise; with memory, the past noise stays in.
    x = current(4, 6, 5).double()
    watch = Watch(potential=True, moments=True, bands=(0.4,))
    module = nlif(sigma=0.5, decay=0.0, threshold=0.8).build(steps=4)
    module.watch, module.seen = watch, []
    module(x)
    (seen,) = module.seen
    assert torch.allclose(seen.potential, x - 0.8, atol=1e-12)
    assert torch.allclose(seen.mean, (x - 0.8).mean(1), atol=1e-12)
    assert torch.allclose(seen.var, (x - 0.8).var(1, correction=0), atol=1e-12)
    assert torch.allclose(seen.hinge, (0.4 - (x - 0.8).abs()).relu().mean()[None], atol=1e-12)
    assert not torch.equal(seen.spikes, (x >= 0.8).double())
    memory = nlif(sigma=0.5, decay=1.0).build(steps=2)
    memory.watch, memory.seen = Watch(potential=True), []
    memory(torch.full((1, 50, 1), -5.0))
    potential = memory.seen[0].potential
    assert potential is not None
    assert torch.allclose(potential[0], torch.full((50, 1), -6.0), atol=1e-5)
    assert float(potential[1].std()) == pytest.approx(0.5, rel=0.4)
