"""ASSG: its statistics by hand, its gradient against a written-out backward pass, and what it remembers of whom."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnguard import rng
from snnguard.errors import RequestError
from snnguard.neurons import (
    ASSG,
    LIF,
    DspikeFiring,
    Firing,
    GradientRule,
    LearnedLeak,
    Mechanism,
    MembraneNoise,
    Memory,
    Neuron,
    Watch,
    use_rule,
)
from snnguard.neurons.kernels import as_tensor

Make = Callable[..., Any]


class ByHand:
    """M, D and the slope of every step, as the paper's code has them."""

    def __init__(self, beta: float = 0.9, relax: float = 1.5, share: float = 0.425) -> None:
        self.beta, self.relax, self.c = beta, relax, 2 / math.pi * math.tan(math.pi * share)
        self.m: dict[int, Any] = {}
        self.d: dict[int, Any] = {}

    def slope(self, t: int, ubar: Tensor) -> Tensor:
        m = self.beta * self.m.get(t, 1.0) + (1 - self.beta) * ubar.abs()
        d = self.beta * self.d.get(t, 0.0) + (1 - self.beta) * (ubar.abs() - m).abs()
        self.m[t], self.d[t] = m, d
        alpha = self.c / (m + self.relax * d + 1e-4)
        return alpha / 2 / (1 + (math.pi / 2 * alpha * ubar) ** 2)


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("detach", [False, True])
def test_three_calls_against_a_written_out_backward_pass(
    steps: int, static: bool, reset: str, detach: bool, written_out: Make, derived: Make, random: Make
) -> None:
    constants = {"decay": 0.7, "threshold": 0.8, "reset": reset, "detach_reset": detach}
    memory, hand = Memory(3), ByHand(beta=0.8, relax=2.0, share=0.4)
    rule = ASSG(beta=0.8, relax=2.0, share=0.4).at("a", memory)
    for call in range(3):
        current, upstream = random(call, 1 if static else steps, 3, 2, 4) + 0.4, random(9, steps, 3, 2, 4)
        spikes, found = derived(rule, current, upstream, dynamics=LIF(**constants))
        x = current.clone().requires_grad_()
        reference = written_out(x, hand.slope, steps=steps, **constants)
        assert torch.equal(spikes, reference.detach())
        torch.testing.assert_close(found, torch.autograd.grad(reference, x, upstream)[0], rtol=1e-10, atol=1e-12)


def test_the_first_call_in_numbers(derived: Make) -> None:
    # |ubar| = 0.25: M = 0.9 + 0.025, D = 0.1 |0.25 - 0.925| = 0.0675, alpha = c / (0.925 + 0.10125 + 0.0001).
    c = 2 / math.pi * math.tan(0.425 * math.pi)
    alpha = c / 1.02635
    wanted = alpha / 2 / (1 + (math.pi / 2 * alpha * 0.25) ** 2)
    for u in (0.75, 1.25):
        current = torch.full((1, 1, 1), u, dtype=torch.float64)
        assert float(derived(ASSG(), current, torch.ones_like(current), dynamics=LIF())[1]) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("share", [0.35, 0.425, 0.49])
def test_the_share_is_that_of_the_area_within_reach(share: float, derived: Make) -> None:
    # One at distance 2 for ever: M = 2, D = 0 with beta = 0. The integral of h from 0 to M, by the midpoint rule.
    memory = Memory(1)
    rule = ASSG(share=share, beta=0, relax=0).at("a", memory)
    ubar = torch.full((1, 1, 1), 2.0, dtype=torch.float64)
    h_at_2 = float(derived(rule, ubar + 1, torch.ones_like(ubar), dynamics=LIF())[1])
    alpha = 2 / math.pi * math.tan(share * math.pi) / 2.0001
    points = (torch.arange(100000, dtype=torch.float64) + 0.5) * (2.0001 / 100000)
    h = alpha / 2 / (1 + (math.pi / 2 * alpha * points) ** 2)
    assert float(h.mean() * 2.0001) == pytest.approx(share, rel=1e-6)
    assert h_at_2 == pytest.approx(alpha / 2 / (1 + (math.pi * alpha) ** 2), rel=1e-12)


def test_without_a_memory_every_call_is_the_first(derived: Make, random: Make) -> None:
    current, upstream = random(0, 4, 2, 5) + 0.4, random(1, 4, 2, 5)
    rule, neuron = ASSG(), LIF()
    first, again = (derived(rule, current, upstream, dynamics=neuron)[1] for _ in range(2))
    bound = rule.at("a", Memory(2))
    learned = [derived(bound, current, upstream, dynamics=neuron)[1] for _ in range(2)]
    assert torch.equal(first, again)
    assert torch.equal(first, learned[0])
    assert not torch.allclose(first, learned[1])


def test_binding_leaves_the_rule_as_it_was() -> None:
    rule = ASSG(share=0.4)
    assert rule.at("a", Memory(2)) is not rule
    assert rule == ASSG(share=0.4)
    assert GradientRule.parse(rule.to_json()) == rule
    assert rule.at("a", None) == rule


def test_a_silent_layer_has_the_slope_of_its_distance(derived: Make) -> None:
    # |ubar| = 1 at all times: M stays 1 and D stays 0, so alpha = c / 1.0001, and it lets gradient through.
    rule, current = ASSG().at("a", Memory(2)), torch.zeros(1, 2, 3, dtype=torch.float64)
    alpha = 2 / math.pi * math.tan(0.425 * math.pi) / 1.0001
    for _ in range(5):
        spikes, gradient = derived(rule, current, torch.ones(2, 2, 3, dtype=torch.float64), dynamics=LIF(detach_reset=True))
        assert not spikes.any()
        # The current of step 0 moves both membranes, that of step 1 its own.
        h = alpha / 2 / (1 + (math.pi / 2 * alpha) ** 2)
        torch.testing.assert_close(gradient, torch.full_like(gradient, 3 * h), rtol=1e-12, atol=0)


def test_at_the_threshold_for_ever_it_stays_finite(derived: Make) -> None:
    rule, current = ASSG().at("a", Memory(1)), torch.ones(1, 1, 1)
    for _ in range(400):
        _, gradient = derived(rule, current, torch.ones_like(current), dynamics=LIF())
        assert gradient.isfinite().all()
    # M and D have died away: the peak alpha / 2 with alpha = c / 0.0001.
    assert float(gradient) == pytest.approx(math.tan(0.425 * math.pi) / math.pi * 1e4, rel=1e-3)


def test_the_fused_kernel_and_the_loop_agree(derived: Make, random: Make) -> None:
    current, upstream = random(0, 4, 3, 2, 4) + 0.4, random(1, 4, 3, 2, 4)
    noise, leak = random(2, 4, 3, 2, 4) * 0.3, random(3, 4, 1, 2, 4).sigmoid()
    for reset in ("zero", "subtract"):
        found = []
        for inside in ((), (Mechanism(),)):  # a mechanism inside, if only one that does nothing, takes the loop
            rule, x, free = ASSG().at("a", Memory(3)), current.clone().requires_grad_(), leak.clone().requires_grad_()
            for _ in range(2):
                spikes, _ = rule.spikes(
                    x + noise, steps=4, dynamics=LIF(reset=reset), surrogate=LIF().surrogate, leak=free, inside=inside
                )  # fmt: skip
                found.append(torch.autograd.grad(spikes, (x, free), upstream))
        for one, other in zip(found[:2], found[2:], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
        assert not torch.allclose(found[0][0], found[1][0])


def test_it_takes_the_place_of_a_firing_mechanisms_own_gradient(derived: Make, random: Make) -> None:
    current, upstream = random(0, 4, 3, 5) + 0.4, random(1, 4, 3, 5)
    mechanism = DspikeFiring().build(steps=4)
    assert isinstance(mechanism, Firing)
    plain = derived(ASSG(), current, upstream, dynamics=LIF())
    fired = derived(ASSG(), current, upstream, dynamics=LIF(), inside=(mechanism,))
    assert torch.equal(fired[0], plain[0])
    torch.testing.assert_close(fired[1], plain[1], rtol=1e-10, atol=1e-12)


def test_a_moved_threshold_is_the_one_that_counts(derived: Make, random: Make) -> None:
    class Moved(Mechanism):
        inside = True

        def shift(self, membranes: Any, *, threshold: float) -> Tensor:
            return torch.full((3, 5), 0.3, dtype=torch.float64)

    current, upstream = random(0, 4, 3, 5) + 0.4, random(1, 4, 3, 5)
    moved = derived(ASSG(), current, upstream, dynamics=LIF(), inside=(Moved(),))
    plain = derived(ASSG(), current, upstream, dynamics=LIF(threshold=1.3))  # the same where the reset is to zero
    assert torch.equal(moved[0], plain[0])
    torch.testing.assert_close(moved[1], plain[1], rtol=1e-9, atol=1e-12)


def test_the_noise_that_decides_a_spike_counts_whether_or_not_somebody_watches(written_out: Make, random: Make) -> None:
    neuron = LIF(traits=(MembraneNoise(sigma=0.4),)).build(steps=3).train()
    current, upstream = random(0, 3, 2, 5) + 0.4, random(1, 3, 2, 5)
    found = []
    for watch in (None, Watch(potential=True, moments=True)):
        x, neuron.watch = current.clone().requires_grad_(), watch
        with rng.scope(0), use_rule(neuron, ASSG(), memory=Memory(2)):
            found.append(torch.autograd.grad(neuron(x), x, upstream)[0])
    assert torch.equal(found[0], found[1])
    assert [list(vars(seen).values()).count(None) for seen in neuron.seen] == [2]  # no hinge, no current was asked for
    with rng.scope(0):
        noise = as_tensor(neuron.mechanisms[0].noise(), current, 3)
    x = current.clone().requires_grad_()
    reference = written_out(x + noise, ByHand().slope, steps=3)
    torch.testing.assert_close(found[0], torch.autograd.grad(reference, x, upstream)[0], rtol=1e-10, atol=1e-12)


def test_a_learned_leak_is_differentiated(random: Make) -> None:
    neuron = LIF(traits=(LearnedLeak(),)).build(steps=3)
    current = random(0, 3, 2, 5).float() + 0.4
    neuron(current)
    with use_rule(neuron, ASSG()):
        gradients = torch.autograd.grad(neuron(current).sum(), list(neuron.parameters()))
    assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients)


class Two(nn.Module):
    """Two layers of neurons with something in between."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Neuron(LIF(decay=0.8), steps=3), Neuron(LIF(decay=0.8), steps=3)

    def forward(self, x: Tensor) -> Tensor:
        wide: Tensor = self.second(self.first(x).roll(1, -1) * 0.9 + 0.1 * x)
        return wide


def gradient_of(model: nn.Module, memory: Memory, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    with use_rule(model, ASSG(), memory=memory):
        return torch.autograd.grad(model(x).sum(), x)[0]


def test_samples_that_leave_do_not_disturb_the_others(random: Make) -> None:
    # Sample 1 leaves after the second call, sample 0 pauses in the third.
    model, together = Two(), Memory(3)
    calls = [random(call, 1, 3, 6) + 0.5 for call in range(5)]
    present = [[0, 1, 2], [0, 1, 2], [2], [2, 0], [0, 2]]
    alone = [Memory(1) for _ in range(3)]
    for x, rows in zip(calls, present, strict=True):
        found = gradient_of(model, together.about(torch.tensor(rows)), x[:, rows])
        for place, row in enumerate(rows):
            wanted = gradient_of(model, alone[row].about(None), x[:, [row]])
            torch.testing.assert_close(found[:, [place]], wanted, rtol=1e-12, atol=1e-14)
            fresh = gradient_of(model, Memory(1), x[:, [row]])
            assert (x is calls[0]) == torch.allclose(fresh, wanted)  # else the memory has no effect to disturb


def test_layers_and_steps_remember_apart(random: Make) -> None:
    memory, x = Memory(2), random(0, 1, 2, 6) + 0.5
    gradient_of(Two(), memory, x)
    kept = [memory.recall(f"{layer} (3, 6) M", torch.zeros(3, 2, 6), start=7) for layer in ("first", "second")]
    assert not torch.allclose(kept[0], kept[1])
    assert not torch.allclose(kept[0][0], kept[0][1])
    # One call from M = 1: within 0.1 of 0.9 + 0.1 |ubar| of the first step, where the membrane is the current.
    torch.testing.assert_close(kept[0][0], 0.9 + 0.1 * (x[0] - 1).abs())


def test_a_further_draw_is_differentiated_by_what_the_first_has_learned(random: Make, derived: Make) -> None:
    memory = Memory(2)
    rule = ASSG().at("a", memory)
    first, other, upstream = random(0, 3, 2, 5) + 0.4, random(1, 3, 2, 5) + 0.4, random(2, 3, 2, 5)
    learned = derived(rule, first, upstream, dynamics=LIF())[1]
    memory.about(None, learns=False)
    assert torch.equal(derived(rule, first, upstream, dynamics=LIF())[1], learned)
    derived(rule, other, upstream, dynamics=LIF())
    assert torch.equal(derived(rule, first, upstream, dynamics=LIF())[1], learned)
    memory.about(None)
    assert not torch.allclose(derived(rule, first, upstream, dynamics=LIF())[1], learned)


def test_a_neuron_may_serve_at_several_sizes(random: Make) -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = Neuron(LIF(), steps=2)

        def forward(self, x: Tensor) -> Tensor:
            wide: Tensor = self.act(self.act(x)[..., :4] * 0.9)
            return wide

    memory, model = Memory(2), Shared()
    for call in range(3):
        assert gradient_of(model, memory, random(call, 2, 2, 6) + 0.5).any()


def test_a_model_that_changes_the_batch_inside_is_refused(random: Make) -> None:
    class Doubled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = Neuron(LIF(), steps=2)

        def forward(self, x: Tensor) -> Tensor:
            wide: Tensor = self.act(torch.cat([x, x], 1))
            return wide

    with pytest.raises(RequestError, match="4 rows for 2 samples"):
        gradient_of(Doubled(), Memory(2), random(0, 2, 2, 6))
    with pytest.raises(RequestError, match="4 rows for 1 samples"):
        gradient_of(Doubled(), Memory(3).about(torch.tensor([2])), random(0, 2, 2, 6))


@pytest.mark.parametrize("wrong", [{"share": 0.5}, {"share": 0}, {"relax": -1}, {"beta": 1}, {"alpha": 2}])
def test_wrong_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(RequestError):
        GradientRule.parse({"kind": "assg", **wrong})
