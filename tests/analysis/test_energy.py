"""Operations and energy of networks that can be counted by hand."""

import pytest
import torch
from torch import nn

from snnguard.analysis import energy
from snnguard.analysis.energy import fan_out
from snnguard.encoders import Poisson
from snnguard.layers import OverTime, watching
from snnguard.networks import SpikingClassifier
from snnguard.neurons import LIF, Watch


class Toy(nn.Module):
    """Two pixels, three neurons over two steps, four classes; for the image (1, 0) the neurons fire 2, 1 and 0 times."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = OverTime(nn.Linear(2, 3, bias=False)), OverTime(nn.Linear(3, 4))
        self.neuron = LIF().build(steps=2)
        self.first[0].weight.data.copy_(torch.tensor([[2.0, 0.0], [0.6, 0.0], [0.1, 0.0]]))

    def forward(self, x):
        return self.last(self.neuron(self.first(x[None]))).mean(0)


def test_a_toy_network_by_hand():
    found = energy(Toy(), torch.tensor([[1.0, 0.0]] * 3), batch_size=2)
    [neuron], [first, last] = found.activity, found.operations
    assert (neuron.layer, neuron.neurons, neuron.spikes, neuron.rate) == ("neuron", 3, 3.0, 3 / 6)
    # Pixels of 0 and 1 are spikes: one of them, three synapses.
    assert (first.accumulations, first.multiplications, first.dense) == (3, 0, 6)
    assert (last.accumulations, last.multiplications, last.dense) == (3 * 4, 0, 12)
    assert found.spiking_pj == pytest.approx(0.9 * 15)
    assert found.ann_pj == pytest.approx(4.6 * 18)
    grey = energy(Toy(), torch.tensor([[1.0, 0.0], [0.5, 0.0]]))
    assert (grey.operations[0].accumulations, grey.operations[0].multiplications) == (0, 6)  # here zeros count
    assert grey.operations[1].accumulations == 4 * (3 + 2) / 2  # currents of 1, 0.3 and 0.05: 2, 0 and 0 spikes
    apart = energy(Toy(), torch.tensor([[1.0, 0.0], [0.5, 0.0]]), batch_size=1)
    assert (apart.operations[0].accumulations, apart.operations[0].multiplications) == (3 / 2, 6 / 2)


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(2, 5, 3, padding=1),
        nn.Conv2d(2, 6, 3, stride=2, padding=1),
        nn.Conv2d(4, 6, 2, groups=2),
        nn.Conv2d(2, 3, 3, dilation=2, padding="same"),
    ],
    ids=str,
)
def test_fan_out_counts_the_synapses_of_each_input(module):
    shape = torch.Size((module.in_channels, 5, 4))
    counted = torch.zeros(shape)
    copied = nn.Conv2d(
        module.in_channels, module.out_channels, module.kernel_size, module.stride, module.padding, module.dilation,
        module.groups, bias=False,
    )  # fmt: skip
    copied.weight.data.uniform_(0.5, 1)
    for index in range(counted.numel()):
        one = torch.zeros(counted.numel())
        one[index] = 1
        counted.view(-1)[index] = (copied(one.reshape(1, *shape)) != 0).sum()
    assert torch.equal(fan_out(module, shape), counted.long())


def test_fan_out_in_a_corner_is_smaller():
    assert fan_out(nn.Conv2d(1, 2, 3, padding=1), torch.Size((1, 3, 3)))[0].tolist() == [[8, 12, 8], [12, 18, 12], [8, 12, 8]]
    assert fan_out(nn.Linear(3, 7), torch.Size((3,))).tolist() == [7, 7, 7]


@pytest.mark.parametrize("batch_size", [4, 128])
def test_a_network_layer_by_layer(network, images, batch_size):
    model: SpikingClassifier = network()
    found = energy(model, images(6), batch_size=batch_size)
    assert [one.layer for one in found.activity] == ["body.1", "body.3", "body.7"]
    first, second, pooled, last = found.operations
    assert first.multiplications == first.dense == 16 * (6 * 9 * 6 + 4 * 6 * 6 + 4 * 4)  # 3x3 on 8x8, once for all steps
    assert first.accumulations == 0
    assert (second.multiplications, pooled.accumulations, last.multiplications) == (0, 0, 0)  # pooled spikes are real
    with torch.no_grad(), watching(model, Watch(potential=True)) as seen:
        model(images(6))
    spikes = nn.functional.avg_pool2d(seen["body.3"][0].spikes.flatten(0, 1), 2)
    assert pooled.multiplications == pytest.approx(int((spikes > 0).sum()) * 64 / 6)  # where no spike came, there is none
    assert last.accumulations == pytest.approx(found.activity[2].spikes * 4)
    assert 36 * found.activity[0].spikes * 8 > second.accumulations  # at most 9 x 32 synapses for a spike
    assert second.accumulations >= 4 * 32 * found.activity[0].spikes  # and at least those of a corner
    assert found.spiking_pj < 0.9 * sum(o.accumulations for o in found.operations) + 4.6 * sum(
        o.multiplications for o in found.operations
    ) * (1 + 1e-9)  # fmt: skip


def test_frames_that_differ_are_each_computed(network, images):
    frames = images(6).reshape(2, 3, 1, 8, 8)
    first, *_ = energy(network(), frames).operations
    assert first.multiplications == 3 * first.dense


def test_spikes_at_the_input_need_no_multiplication(network, images):
    found = energy(network(encoder=Poisson()), images(4), seed=1)
    assert found.operations[0].multiplications == 0
    assert 0 < found.operations[0].accumulations <= 3 * found.operations[0].dense
    assert found == energy(network(encoder=Poisson()), images(4), seed=1)
