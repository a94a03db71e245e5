"""Normalisation of raw images inside the model."""

import pytest
import torch
from torch import nn

from snnguard.errors import RequestError
from snnguard.layers import Normalize


def test_by_hand() -> None:
    x = torch.tensor([[[[0.5]], [[1.0]]]])
    assert Normalize([0.25, 0.5], [0.5, 0.25])(x).flatten().tolist() == [0.5, 2.0]


def test_constants_are_not_saved_but_follow() -> None:
    model = nn.Sequential(Normalize([0.1, 0.2, 0.3], [0.5, 0.5, 0.5]))
    assert model.state_dict() == {}
    assert list(model.parameters()) == []
    model.load_state_dict({})
    model.double()
    assert model(torch.rand(1, 3, 2, 2, dtype=torch.float64)).dtype == torch.float64
    moved = model.to("meta")
    assert moved[0].mean.device.type == moved[0].std.device.type == "meta"  # type: ignore[union-attr]


@pytest.mark.parametrize(("mean", "std"), [([0.1], [0.5, 0.5]), ([0.1], [0.0]), ([0.1], [-1.0]), ([0.1], [float("nan")])])
def test_wrong_constants_are_refused(mean: list[float], std: list[float]) -> None:
    with pytest.raises(RequestError, match="one value per channel and std > 0"):
        Normalize(mean, std)
