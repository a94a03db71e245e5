"""The homeostatic threshold: three steps by hand, its direction, its signature, and what it leaves alone."""

import pytest
import torch
from torch import Tensor, nn

from snnguard.errors import RequestError
from snnguard.layers import watching
from snnguard.networks import Network, construct
from snnguard.neurons import LIF, Neuron, Watch, is_unsettled, mechanisms_of
from snnguard.neurons.homeostasis import Homeostasis, HomeostaticThreshold

DOUBLE = torch.float64


def neuron(signature: list[float] | None, *, steps: int = 3) -> tuple[Neuron, Homeostasis]:
    """A layer of one neuron with this signature; its shift keeps a half of itself and adds a half of the error."""
    made = LIF(traits=(HomeostaticThreshold(rate=0.5, leak=0.5),)).build(steps=steps)
    (mechanism,) = mechanisms_of(made, Homeostasis)
    made(torch.zeros(steps, 1, 1, dtype=DOUBLE))
    if signature is not None:
        mechanism.record(torch.tensor(signature, dtype=DOUBLE)[:, None, None])
    return made, mechanism


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=DOUBLE)[:, None, None]


def test_the_shift_over_three_steps_by_hand() -> None:
    _, mechanism = neuron([0.5, 1.0, 0.0])
    u = [torch.tensor([[0.9]], dtype=DOUBLE), torch.tensor([[0.6]], dtype=DOUBLE), torch.tensor([[2.0]], dtype=DOUBLE)]
    assert mechanism.shift([], threshold=1.0) is None
    # 0.5 * 0.4 = 0.2;  0.5 * 0.2 + 0.5 * (-0.4) = -0.1;  0.5 * (-0.1) + 0.5 * 2 = 0.95
    found = [mechanism.shift(u[: t + 1], threshold=1.0) for t in range(3)]
    assert [float(shift) for shift in found if shift is not None] == pytest.approx([0.2, -0.1, 0.95])


def test_the_threshold_rises_where_the_membrane_exceeds_its_signature() -> None:
    # u = 0.6, 1.2: plain LIF fires in the second step, and so does a membrane on its course.
    current = column(0.6, 0.6, 0.0)
    assert neuron([0.6, 1.2, 0.0])[0](current).flatten().tolist() == [0, 1, 0]
    # 0.5 * (0.6 - 0.1) = 0.25 more is not reached by 1.2; in the third step the shift is 0.5 * 0.25 + 0.5 * 1.1.
    assert neuron([0.1, 0.1, 0.0])[0](current).flatten().tolist() == [0, 0, 0]
    # Below its course it falls: 1 + 0.5 * (0.4 - 1.4) = 0.5 < 0.8.
    low = column(0.4, 0.4, 0.0)
    assert neuron(None)[0](low).sum() == 0
    assert neuron([1.4, 0.8, 0.0])[0](low).flatten().tolist() == [0, 1, 0]


def test_without_a_signature_it_is_lif_bit_for_bit() -> None:
    current = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)) + 0.4
    plain = LIF(decay=0.9).build(steps=3)
    ours = LIF(decay=0.9, traits=(HomeostaticThreshold(rate=0.7),)).build(steps=3)
    found = []
    for made in (plain, ours):
        x = current.clone().requires_grad_()
        spikes = made(x)
        found.append((spikes, torch.autograd.grad(spikes.square().sum(), x)[0]))
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1])
    mechanisms_of(ours, Homeostasis)[0].record(torch.zeros(3, 4, 5))
    assert not torch.equal(ours(current), found[0][0])


def test_an_attacker_sees_through_the_shift() -> None:
    # u1 = 0.5 shifts the second threshold to 1.25: u2 = 1 lies 0.25 below it, where the triangle is 0.75 high.
    # ds2/dI1 = 0.75 * dv1/du1, dv1/du1 = 1 - u1 h(u1 - 1) = 0.75, less 0.75 * 0.5 through the shift.
    made, _ = neuron([0.0, 0.0], steps=2)
    current = column(0.5, 0.5).requires_grad_()
    (gradient,) = torch.autograd.grad(made(current)[1].sum(), current)
    assert gradient.flatten().tolist() == pytest.approx([0.1875, 0.75])


def test_the_signature_is_the_mean_over_all_batches() -> None:
    _, mechanism = neuron(None, steps=2)
    u = torch.randn(2, 12, 1, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    for part in u.split(4, dim=1):
        mechanism.record(part)
    torch.testing.assert_close(mechanism.signature, u.mean(1).to(mechanism.signature.dtype))
    assert int(mechanism.recorded) == 3


def test_a_signature_of_another_layer_is_refused() -> None:
    _, mechanism = neuron(None, steps=2)
    for shape in ((3, 4, 1), (2, 4, 2), (2, 4, 1, 1)):
        with pytest.raises(RequestError, match="signature"):
            mechanism.record(torch.zeros(shape))


def test_it_is_settled_saved_and_read_with_the_network() -> None:
    network = Network(name="vgg4-tiny", steps=2).having(HomeostaticThreshold())
    one, two = (
        construct(network, classes=3, image_shape=(1, 8, 8), mean=[0.0], std=[1.0], seed=seed).eval() for seed in (0, 1)
    )
    assert not is_unsettled(one)
    x = 9 * torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))  # bright enough for every layer
    with watching(one, Watch(potential=True)) as seen, torch.no_grad():
        one(x)
    for mechanism, passes in zip(mechanisms_of(one, Homeostasis), seen.values(), strict=True):
        assert not mechanism.signature.any()
        mechanism.record(passes[0].potential + 1)
    two.load_state_dict(one.state_dict())
    assert torch.equal(one(x), two(x))
    assert all(int(m.recorded) == 1 and m.signature.any() for m in mechanisms_of(two, Homeostasis))


def test_a_call_does_not_know_the_one_before() -> None:
    made, _ = neuron([0.3, 0.2, 0.1])
    x = torch.randn(3, 4, 1, generator=torch.Generator().manual_seed(0), dtype=DOUBLE) + 0.5
    first = nn.Sequential(made).eval()(x)
    made(5 * x)
    assert torch.equal(made(x), first)
    assert torch.equal(made(x[:, 1:2]), first[:, 1:2])


def test_what_is_watched_is_the_distance_to_the_moved_threshold() -> None:
    made, _ = neuron([0.0, 0.0], steps=2)
    with watching(nn.Sequential(made), Watch(potential=True)) as seen:
        made(column(0.5, 0.5))
    # The first membrane of 0.5 moves the threshold of the second step, where it is 1, from 1 to 1.25.
    assert seen["0"][0].potential.flatten().tolist() == pytest.approx([-0.5, -0.25])  # type: ignore[union-attr]
