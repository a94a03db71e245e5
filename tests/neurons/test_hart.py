"""HART by hand and against a written-out backward pass. What holds for every rule stands in contracts/test_neurons.py."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from snnguard import rng
from snnguard.errors import RequestError
from snnguard.neurons import BPTT, HART, LIF, GradientRule, Mechanism, MembraneNoise, Triangle, Watch, use_rule
from snnguard.neurons.kernels import as_tensor

Make = Callable[..., Any]


def triangle(gamma: float) -> Callable[[int, Tensor], Tensor]:
    return lambda t, ubar: (gamma - ubar.abs()).clamp(min=0) / gamma**2


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("inside", [(), (Mechanism(),)], ids=["fused", "loop"])
def test_against_a_written_out_backward_pass(
    steps: int, static: bool, reset: str, inside: Any, written_out: Make, derived: Make, random: Make
) -> None:
    constants = {"decay": 0.7, "threshold": 0.8, "reset": reset}
    current, upstream = random(0, 1 if static else steps, 3, 2, 4) + 0.4, random(1, steps, 3, 2, 4)
    spikes, found = derived(HART(gamma=0.6), current, upstream, dynamics=LIF(**constants), inside=inside)
    x = current.clone().requires_grad_()
    # Each step's current by itself, then its average over time; a current given once is used `steps` times.
    each = x.expand(steps, -1, -1, -1) * 1
    reference = written_out(each, triangle(0.6), steps=steps, through_time=False, **constants)
    average = torch.autograd.grad(reference, each, upstream)[0].mean(0, keepdim=True)
    assert torch.equal(spikes, reference.detach())
    assert found.any()
    torch.testing.assert_close(found, average * steps if static else average.expand(steps, -1, -1, -1))


def test_two_steps_in_numbers(derived: Make) -> None:
    # Current 0.75 twice: u = 0.75 (h = 0.75), then 1.5 (fires, h = 0.5). Upstream 2 and 4: mean (1.5 + 2) / 2.
    current = torch.full((2, 1, 1), 0.75, dtype=torch.float64)
    upstream = torch.tensor([2.0, 4.0], dtype=torch.float64).reshape(2, 1, 1)
    spikes, gradient = derived(HART(), current, upstream, dynamics=LIF())
    assert spikes.flatten().tolist() == [0, 1]
    assert gradient.flatten().tolist() == [1.75, 1.75]
    assert derived(HART(), current[:1], upstream, dynamics=LIF())[1].flatten().tolist() == [3.5]


def test_one_step_is_backpropagation(derived: Make, random: Make) -> None:
    current, upstream = random(0, 1, 4, 5) + 0.4, random(1, 1, 4, 5)
    found = [derived(rule, current, upstream, dynamics=LIF()) for rule in (HART(gamma=2), BPTT(surrogate=Triangle(gamma=2)))]
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1])


def test_out_of_reach_there_is_no_gradient(derived: Make) -> None:
    current = torch.full((3, 2, 4), -1.0)
    for x in (current, torch.zeros_like(current)):  # far below, and silent: |ubar| = 1 is the edge of the triangle
        assert not derived(HART(), x, torch.ones_like(x), dynamics=LIF())[1].any()
    assert derived(HART(gamma=1.5), torch.zeros_like(current), torch.ones_like(current), dynamics=LIF())[1].all()


def test_noise_decides_the_slope_and_watching_changes_nothing(random: Make) -> None:
    neuron = LIF(traits=(MembraneNoise(sigma=0.4),)).build(steps=3).train()
    current, found = random(0, 3, 2, 50) + 0.4, []
    for watch in (None, Watch(potential=True)):
        x, neuron.watch = current.clone().requires_grad_(), watch
        with rng.scope(0), use_rule(neuron, HART()):
            found.append(torch.autograd.grad(neuron(x).sum(), x)[0])
    assert torch.equal(found[0], found[1])
    [seen] = neuron.seen
    assert seen.potential is not None
    assert not seen.potential.requires_grad
    with rng.scope(0):
        noise = as_tensor(neuron.mechanisms[0].noise(), current, 3)
    with_noise, without = ((1 - (seen.potential + n).abs()).clamp(min=0).mean(0) for n in (noise, 0))
    torch.testing.assert_close(found[0], with_noise.expand(3, -1, -1))
    assert not torch.allclose(found[0][0], without)


def test_wrong_settings_are_refused() -> None:
    for wrong in ({"gamma": 0}, {"gamma": -1}, {"width": 1}):
        with pytest.raises(RequestError):
            GradientRule.parse({"kind": "hart", **wrong})
