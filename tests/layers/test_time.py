"""Folding of time into the batch and back."""

import pytest
import torch
from torch import Tensor, nn

from snnguard.layers import OverTime, fold, unfold


def sequence(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(4, 3, 5), (4, 3, 2, 6, 6), (1, 3, 2, 6, 6), (4, 1, 2, 6, 6)])
def test_round_trip_is_a_view(shape: tuple[int, ...]) -> None:
    x = sequence(*shape)
    folded = fold(x)
    assert folded.shape == (shape[0] * shape[1], *shape[2:])
    assert torch.equal(folded[shape[1] - 1], x[0, -1])
    assert torch.equal(folded[-1], x[-1, -1])
    back = unfold(folded, shape[0])
    assert torch.equal(back, x)
    assert folded.data_ptr() == back.data_ptr() == x.data_ptr()


def test_round_trip_keeps_channels_last() -> None:
    x = sequence(12, 2, 6, 6).contiguous(memory_format=torch.channels_last)
    steps = unfold(x, 4)
    assert steps.shape == (4, 3, 2, 6, 6)
    assert steps.data_ptr() == x.data_ptr()
    folded = fold(steps)
    assert folded.data_ptr() == x.data_ptr()
    assert folded.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(folded, x)


def test_layers_see_every_step_alone() -> None:
    layer = OverTime(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten())
    x = sequence(4, 3, 2, 6, 6)
    y = layer(x)
    assert y.shape == (4, 3, 3 * 4 * 4)
    for t in range(4):
        alone = layer[2](layer[1](layer[0](x[t])))
        assert torch.allclose(y[t], alone, atol=1e-6)
    assert torch.allclose(layer(x[:1]), y[:1], atol=1e-6)


def test_the_output_stays_channels_last() -> None:
    layer = OverTime(nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last))  # type: ignore[call-overload]
    x = unfold(sequence(12, 2, 6, 6).contiguous(memory_format=torch.channels_last), 4)
    assert fold(layer(x)).is_contiguous(memory_format=torch.channels_last)
