"""tdBN against BatchNorm2d and the published formula."""

import copy

import pytest
import torch
from torch import Tensor, nn

from snnguard.layers import TDBN


def batch(seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Folded [T*N, C, H, W], off-centre, with another spread in each channel."""
    x = torch.randn(12, 3, 5, 5, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return (
        x * torch.tensor([0.5, 2.0, 7.0], dtype=dtype)[:, None, None]
        + torch.tensor([3.0, -1.0, 0.0], dtype=dtype)[:, None, None]
    )


def with_affine(module: nn.BatchNorm2d) -> nn.BatchNorm2d:
    with torch.no_grad():
        module.weight.copy_(torch.tensor([0.5, 1.5, -1.0]))
        module.bias.copy_(torch.tensor([0.1, 0.0, 2.0]))
    return module


@pytest.mark.parametrize(("alpha", "threshold"), [(1.0, 1.0), (2.0, 0.5), (0.25, 4.0)])
def test_with_product_one_it_is_batch_normalisation_bit_for_bit(alpha: float, threshold: float) -> None:
    ours, theirs = with_affine(TDBN(3, alpha=alpha, threshold=threshold)), with_affine(nn.BatchNorm2d(3))
    for seed in range(3):
        x = batch(seed).requires_grad_()
        one, other = ours(x), theirs(x)
        assert torch.equal(one, other)
        assert torch.equal(torch.autograd.grad(one.square().sum(), x)[0], torch.autograd.grad(other.square().sum(), x)[0])
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value)
    assert torch.equal(ours.eval()(batch(9)), theirs.eval()(batch(9)))


@pytest.mark.parametrize(("alpha", "threshold"), [(1.0, 0.5), (0.5**0.5, 1.0), (2.0, 1.5)])
def test_training_output_has_mean_zero_and_std_alpha_threshold(alpha: float, threshold: float) -> None:
    y = TDBN(3, alpha=alpha, threshold=threshold).double()(batch(dtype=torch.float64)).transpose(0, 1).flatten(1)
    assert torch.allclose(y.mean(1), torch.zeros(3, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(y.std(1, correction=0), torch.full((3,), alpha * threshold, dtype=torch.float64), rtol=1e-4)


@pytest.mark.parametrize("training", [True, False])
def test_the_formula(training: bool) -> None:
    module = with_affine(TDBN(3, alpha=0.7, threshold=0.5)).double()
    for seed in range(3):
        module(batch(seed, torch.float64))
    module.train(training)
    mean, var = module.running_mean.clone(), module.running_var.clone()  # type: ignore[union-attr]
    x = batch(9, torch.float64)
    if training:
        channels = x.transpose(0, 1).flatten(1)
        mean, var = channels.mean(1), channels.var(1, correction=0)
    shape = (1, -1, 1, 1)
    normal = 0.7 * 0.5 * (x - mean.reshape(shape)) / (var.reshape(shape) + 1e-5).sqrt()
    wanted = normal * module.weight.reshape(shape) + module.bias.reshape(shape)
    assert torch.allclose(module(x), wanted, atol=1e-12)


def test_running_statistics_are_those_of_batch_normalisation() -> None:
    ours, theirs = TDBN(3, alpha=0.3, threshold=2.0), nn.BatchNorm2d(3)
    for seed in range(4):
        ours(batch(seed))
        theirs(batch(seed))
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name))
    assert int(ours.num_batches_tracked) == 4  # type: ignore[arg-type]
    x = batch(0, torch.float64)
    fresh = TDBN(3, alpha=0.3).double()
    fresh(x)
    channels = x.transpose(0, 1).flatten(1)
    assert torch.allclose(fresh.running_mean, 0.1 * channels.mean(1))  # type: ignore[arg-type]
    assert torch.allclose(fresh.running_var, 0.9 + 0.1 * channels.var(1, correction=1))  # type: ignore[arg-type]


def test_eval_changes_nothing_and_needs_no_batch() -> None:
    module = TDBN(3, alpha=0.3)
    module(batch(0))
    before = copy.deepcopy(module.state_dict())
    module.eval()
    y = module(batch(1))
    assert torch.allclose(module(batch(1)[4:5]), y[4:5], atol=1e-6)
    for name, value in before.items():
        assert torch.equal(module.state_dict()[name], value)


def test_gradients_of_weight_and_bias() -> None:
    module = with_affine(TDBN(3, alpha=0.7, threshold=0.5)).double()
    x = batch(dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, w, b: torch.func.functional_call(module, {"weight": w, "bias": b}, x), (
        x[:3, :, :2, :2].detach().requires_grad_(), module.weight, module.bias,
    ))  # fmt: skip


def test_the_state_dict_is_that_of_batch_normalisation() -> None:
    assert list(TDBN(3, alpha=0.5).state_dict()) == list(nn.BatchNorm2d(3).state_dict())


def test_a_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="4D"):
        TDBN(3, alpha=0.5)(torch.rand(2, 3))
