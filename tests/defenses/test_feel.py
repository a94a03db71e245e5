"""FEEL: what it designs, its halves, and the properties of the encoding and of the leaks that it asks for."""

import pytest
import torch
from torch import Tensor

from snnguard.defenses.feel import FEEL
from snnguard.encoders import Direct
from snnguard.encoders.frequency import Frequency
from snnguard.networks import Network, build, construct
from snnguard.neurons import LIF, lif
from snnguard.neurons.leak import EvolutionaryLeak

PLAIN = Network(name="vgg4-tiny", steps=3, neuron=LIF(threshold=1.5))


def test_both_halves_and_each_alone() -> None:
    both, encoding, leak = FEEL(drop=0.25, leak_start=0.9), FEEL(leak=False), FEEL(encoding=False)
    designed = both.design(PLAIN)
    assert designed.encoder == Frequency(drop=0.25)
    assert designed.neuron == LIF(threshold=1.5, traits=(EvolutionaryLeak(start=0.9),))
    assert designed.model_copy(update={"encoder": Direct(), "neuron": PLAIN.neuron}) == PLAIN
    assert encoding.design(PLAIN) == PLAIN.model_copy(update={"encoder": Frequency()})
    assert leak.design(PLAIN) == PLAIN.having(EvolutionaryLeak())
    assert encoding.design(leak.design(PLAIN)) == leak.design(encoding.design(PLAIN)) == FEEL().design(PLAIN)


def test_neither_half_is_nothing() -> None:
    nothing = FEEL(encoding=False, leak=False)
    assert nothing.design(PLAIN) == PLAIN
    assert nothing.adaptive() == ()
    assert not nothing.watch


def test_the_published_radii() -> None:
    encoder = FEEL().design(PLAIN).encoder
    assert isinstance(encoder, Frequency)
    assert encoder.radii(32, steps=8) == [16, 14, 12, 10, 8, 6, 4, 2]
    assert encoder.radii(32, steps=4) == [16, 14, 12, 10]
    assert Frequency(drop=1 / 16).radii(64, steps=4) == [32, 30, 28, 26]
    assert min(encoder.radii(32, steps=12)) == 1  # the mean and the slowest waves are always left


def encoded(x: Tensor, *, steps: int = 4, drop: float = 0.25) -> Tensor:
    return FEEL(drop=drop).design(PLAIN).encoder.encode(x[None], steps=steps, normalize=lambda y: y)


def test_what_the_steps_see() -> None:
    generator = torch.Generator().manual_seed(0)
    x, z = (torch.rand(2, 3, 8, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    frames = encoded(x)
    assert frames.shape == (4, 2, 3, 8, 8)
    torch.testing.assert_close(frames[0], x)  # the radius H / 2 keeps everything
    torch.testing.assert_close(encoded(2 * x - 3 * z), 2 * frames - 3 * encoded(z))
    constant = torch.full((1, 1, 8, 8), 0.3, dtype=torch.float64)
    torch.testing.assert_close(encoded(constant), constant.expand(4, 1, 1, 8, 8))
    energy = (frames - frames.mean((-1, -2), keepdim=True)).square().sum((1, 2, 3, 4))
    assert (energy.diff() < 0).all()


def test_a_step_is_the_sum_of_its_waves() -> None:
    """Radii of an 8x8 image with drop 1/4 are 4, 3, 2, 1; each wave comes through whole or not at all."""
    place = torch.arange(8, dtype=torch.float64)
    for m, n in ((0, 0), (1, 0), (0, 2), (2, 3), (1, 4), (3, 3)):
        for phase in (0.0, 0.7):
            angle = 2 * torch.pi * (m * place[:, None] + n * place[None]) / 8 + phase
            frames = encoded(angle.cos()[None, None])
            for t, radius in enumerate((4, 3, 2, 1)):
                wanted = angle.cos() if max(m, n) <= radius else torch.zeros(8, 8, dtype=torch.float64)
                assert torch.allclose(frames[t, 0, 0], wanted, atol=1e-12), (m, n, t)


def leaky(start: float, steps: int = 4) -> torch.nn.Module:
    neuron = FEEL(leak_start=start).design(Network(name="vgg4-tiny")).neuron.build(steps=steps)
    return neuron.double()


@pytest.mark.parametrize("leak", [1.0, 0.5, 0.0])
def test_equal_leaks_are_lif_with_that_decay_bit_for_bit(leak: float) -> None:
    x = torch.randn(4, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.4
    for current in (x, x[:1]):
        assert torch.equal(leaky(leak)(current), lif(current.expand(4, -1, -1, -1, -1), decay=leak))


def test_every_neuron_and_step_has_a_leak_and_the_first_never_acts() -> None:
    x = torch.randn(4, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.4
    neuron = leaky(0.5)
    spikes = neuron(x)
    [mechanism] = neuron.mechanisms
    assert mechanism.each.shape == (4, 2, 4, 4)
    (gradient,) = torch.autograd.grad(spikes.sum(), mechanism.each)
    assert not gradient[0].any()
    assert all(gradient[t].any() for t in (1, 2, 3))


def test_the_leaks_gradient_by_hand() -> None:
    # u1 = 0.6, no spike; u2 = L * 0.6 + 0.7 = 1.0, a spike at its threshold. Triangle: ds2/du2 = 1, so ds2/dL = 0.6.
    neuron = leaky(0.5, steps=2)
    spikes = neuron(torch.tensor([[[0.6]], [[0.7]]], dtype=torch.float64))
    assert spikes.flatten().tolist() == [0, 1]
    (gradient,) = torch.autograd.grad(spikes[1].sum(), neuron.mechanisms[0].each)
    assert gradient.flatten().tolist() == pytest.approx([0, 0.6])


def test_the_network_of_the_leaks_is_the_plain_one_until_it_learns() -> None:
    x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    plain = build("vgg4-tiny", classes=3, image_shape=(1, 8, 8), steps=2).train()
    network = FEEL(encoding=False).design(Network(name="vgg4-tiny", steps=2))
    model = construct(network, classes=3, image_shape=(1, 8, 8), mean=[0.0], std=[1.0]).train()
    assert torch.equal(model(x), plain(x))
    leaks = {name: p for name, p in model.named_parameters() if name.endswith(".each")}
    assert [tuple(p.shape) for p in leaks.values()] == [(2, 16, 8, 8), (2, 32, 8, 8), (2, 64)]
    model(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in leaks.values())
