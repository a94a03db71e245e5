"""The gain per time step of DLIF: at one it is LIF, elsewhere it is LIF of a scaled current."""

import pytest
import torch
from torch import Tensor

from snnguard.neurons import LIF, Watch, lif
from snnguard.neurons.gain import Gain, StepGain

P = [1.5, 0.25, 2.0, 0.8]


def current(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype) + 0.4


def gained(*, steps: int = 4, **settings: object) -> tuple[torch.nn.Module, Gain]:
    neuron = LIF(traits=(StepGain(),), **settings).build(steps=steps)
    [gain] = neuron.mechanisms
    assert isinstance(gain, Gain)
    return neuron, gain


@pytest.mark.parametrize("given", [1, 4])
@pytest.mark.parametrize("decay", [1.0, 0.99, 0.0])
def test_a_gain_of_one_is_lif_bit_for_bit(given: int, decay: float) -> None:
    neuron, gain = gained(decay=decay, reset="subtract")
    plain = LIF(decay=decay, reset="subtract").build(steps=4)
    assert gain.p.tolist() == [1, 1, 1, 1]
    x = current(given, 30, 5).requires_grad_()
    weights = current(4, 30, 5)
    one, other = neuron(x), plain(x)
    assert torch.equal(one, other)
    [g], [h] = (torch.autograd.grad((spikes * weights).sum(), x) for spikes in (one, other))
    torch.testing.assert_close(g, h)  # a current that stays is summed over time in another order
    assert given == 1 or torch.equal(g, h)


@pytest.mark.parametrize("given", [1, 4])
def test_it_scales_the_current_of_each_step(given: int) -> None:
    neuron, gain = gained(decay=0.9)
    gain.p.data.copy_(torch.tensor(P))
    x = current(given, 6, 2, 3, 3, dtype=torch.float64)
    p = torch.tensor(P, dtype=torch.float64).reshape(4, 1, 1, 1, 1)
    assert torch.equal(neuron.double()(x), lif(x.expand(4, -1, -1, -1, -1) * p, decay=0.9))


def test_two_steps_by_hand() -> None:
    # u1 = 1.5 * 0.6 = 0.9, no spike; u2 = 0.5 * 0.9 + 0.5 * 1.2 = 1.05, a spike. Triangle of half width 1 around 1:
    # ds2/du2 = 0.95, so ds2/dp2 = 0.95 * 1.2 and, with the reset detached, ds2/dp1 = 0.95 * 0.5 * 0.6.
    neuron, gain = gained(steps=2, decay=0.5, detach_reset=True)
    gain.p.data.copy_(torch.tensor([1.5, 0.5]))
    spikes = neuron.double()(torch.tensor([[[0.6]], [[1.2]]], dtype=torch.float64))
    assert spikes.flatten().tolist() == [0, 1]
    (gradient,) = torch.autograd.grad(spikes[1].sum(), gain.p)
    assert gradient.tolist() == pytest.approx([0.95 * 0.5 * 0.6, 0.95 * 1.2])


def test_one_vector_per_layer_is_all_there_is_to_learn() -> None:
    neuron, _ = gained(steps=3)
    assert {name: tuple(p.shape) for name, p in neuron.named_parameters()} == {"mechanisms.0.p": (3,)}
    neuron(current(3, 2, 7, 5, 5))
    assert {name: tuple(p.shape) for name, p in neuron.named_parameters()} == {"mechanisms.0.p": (3,)}


def test_the_watched_current_is_the_one_before_the_gain() -> None:
    neuron, gain = gained()
    gain.p.data.copy_(torch.tensor(P))
    neuron.watch, neuron.seen = Watch(current=True), []
    x = current(4, 3, 5)
    neuron(x)
    assert torch.equal(neuron.seen[0].current, x)
