"""Merges of skip and branch."""

import pytest
import torch
from torch import Tensor, nn

from snnguard import compiled
from snnguard.layers import ConvexCombination, Sum, merge
from snnguard.layers.residual import PACE


def test_sum() -> None:
    assert torch.equal(Sum()(torch.tensor([1.0]), torch.tensor([2.0])), torch.tensor([3.0]))
    assert list(Sum().parameters()) == []


def test_convex_combination() -> None:
    module = ConvexCombination()
    assert {name: value.tolist() for name, value in module.state_dict().items()} == {"c": [0.5, 0.5]}
    skip, branch = torch.tensor([1.0, 2.0]), torch.tensor([10.0, 20.0])
    assert module(skip, branch).tolist() == [5.5, 11.0]
    with torch.no_grad():
        module.c.copy_(torch.tensor([0.25, 0.75]))
    assert module(skip, branch).tolist() == [7.75, 15.5]
    module(skip, branch).sum().backward()
    assert module.c.grad is not None
    assert module.c.grad.tolist() == [3.0, 30.0]


@pytest.mark.parametrize("shape", [(3, 4, 5, 6, 7), (2, 3, 4), (5,), (0, 2, 3), (1, 1, 1, 1, 1)])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_its_gradients_are_those_of_the_formula(shape: tuple[int, ...], last: bool, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    skip, branch, weights = (torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(3))
    if last and len(shape) == 5:
        skip = skip.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, shape[:2])
    module = ConvexCombination().to(torch.float64 if dtype == torch.float64 else torch.float32)
    with torch.no_grad():
        module.c.copy_(torch.tensor([0.3, 0.9]))
    found = []
    for merged in (module, lambda skip, branch: module.c[0] * skip + module.c[1] * branch):
        leaves = [part.clone(memory_format=torch.preserve_format).requires_grad_() for part in (skip, branch)]
        out = merged(*leaves)
        found.append([out, *torch.autograd.grad((out * weights).sum(), [*leaves, module.c])])
    for one, other in zip(*found, strict=True):
        assert one.dtype == other.dtype
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-6)


def worked(skip: Tensor, branch: Tensor, weights: Tensor) -> list[Tensor]:
    """What is merged, and the gradients of both parts and of the coefficients."""
    module = ConvexCombination()
    with torch.no_grad():
        module.c.copy_(torch.tensor([0.3, 0.9]))
    leaves = [part.clone().requires_grad_() for part in (skip, branch)]
    out = module(*leaves)
    return [out, *torch.autograd.grad(out, [*leaves, module.c], weights)]


@pytest.mark.parametrize("size", [1, 15, 16, PACE - 1, PACE, 3 * PACE + 7])
def test_with_and_without_a_compiler(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator, before = torch.Generator().manual_seed(size), torch.get_num_threads()
    parts = [torch.randn(size, generator=generator) for _ in range(3)]
    one = worked(*parts)
    torch.set_num_threads(3)
    try:
        three = worked(*parts)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(one, three, strict=True))
    asked: list[object] = []
    monkeypatch.setattr(compiled, "library", lambda *sources: asked.append(sources))
    plain = worked(*parts)
    assert len(asked) == 2
    for a, b in zip(one, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * size**0.5)
    exact = [(parts[2].double() * part.double()).sum() for part in parts[:2]]
    torch.testing.assert_close(one[3].double(), torch.stack(exact), rtol=1e-6, atol=1e-6)


def test_gradients_that_lie_otherwise() -> None:
    skip, branch, weights = torch.randn(3, 3, 4, 5, 6, 7, generator=torch.Generator().manual_seed(0))
    for other in (weights.transpose(0, 1).contiguous().transpose(0, 1), weights[:1].expand(3, -1, -1, -1, -1)):
        found, same = worked(skip, branch, other), worked(skip, branch, other.contiguous())
        for a, b in zip(found, same, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_coefficients_that_lie_apart() -> None:
    module, (skip, branch) = ConvexCombination(), torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    module.c = nn.Parameter(torch.tensor([0.3, -7.0, 0.9, -7.0])[::2])
    torch.testing.assert_close(module(skip, branch), 0.3 * skip + 0.9 * branch)


def test_parts_of_other_shapes_and_second_derivatives() -> None:
    module, skip, branch = ConvexCombination(), torch.ones(1, 3, 2, requires_grad=True), torch.full((4, 3, 2), 2.0)
    module(skip, branch).sum().backward()
    assert module.c.grad is not None
    assert module.c.grad.tolist() == [24.0, 48.0]
    x = torch.ones(2, 3, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(module(x * x, x).sum(), x, create_graph=True)
    gradient.sum().backward()
    assert torch.allclose(x.grad, torch.ones(2, 3, 4))  # d/dx (0.5 * 2 x + 0.5)


def test_by_name() -> None:
    assert isinstance(merge("sum"), Sum)
    assert isinstance(merge("convex"), ConvexCombination)
    assert merge("convex") is not merge("convex")
