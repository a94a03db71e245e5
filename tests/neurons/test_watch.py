"""What is asked of a neuron and what it hands over."""

import pytest
import torch

from snnguard.neurons import Membrane, Watch
from snnguard.neurons.watch import channel_moments, mean_hinge


def test_requests_are_joined() -> None:
    assert Watch(moments=True) | Watch(bands=(0.5,)) == Watch(moments=True, bands=(0.5,))
    assert Watch(bands=(0.5, 0.1)) | Watch(bands=(0.5, 0.9)) == Watch(bands=(0.1, 0.5, 0.9))
    assert Watch() | Watch(potential=True) == Watch(potential=True)
    assert Watch() | Watch() == Watch()


def test_an_empty_request_is_false() -> None:
    assert not Watch()
    assert Watch(moments=True)
    assert Watch(bands=(0.5,))
    assert Watch(potential=True)


def test_bands_are_found_by_width() -> None:
    seen = Membrane(hinge=torch.tensor([1.0, 2.0]), bands=(0.1, 0.5))
    assert seen.band(0.5) == 2
    with pytest.raises(KeyError, match=r"band 0\.2 was not watched"):
        seen.band(0.2)
    with pytest.raises(KeyError):
        Membrane().band(0.1)


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (2, 3, 4, 5)])
def test_moments_are_those_of_torch(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean, var = channel_moments(x)
    true_var, true_mean = torch.var_mean(x, dim=(0, *range(2, x.ndim)), correction=0)
    assert torch.allclose(mean, true_mean, atol=1e-14)
    assert torch.allclose(var, true_var, atol=1e-14)


def test_moments_far_from_zero_keep_their_digits() -> None:
    x = 1000 + torch.randn(64, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    true = x.double().var((0, 2, 3), correction=0)
    assert torch.allclose(channel_moments(x)[1].double(), true, rtol=1e-3)


def test_hinge_by_hand() -> None:
    x = torch.tensor([[-0.5, -0.1, 0.0, 0.2, 3.0]])
    assert float(mean_hinge(x, 0.3)) == pytest.approx((0.2 + 0.3 + 0.1) / 5)
