"""A normalisation on the way into the neuron, and spikes as bits, on every backend that can: against formulas and the reference
loop. Triton's kernels run in its interpreter: `make parity`."""

import importlib
import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from snnguard.compiled import find_compiler
from snnguard.neurons import Normalisation, Triangle, Watch, native, unroll
from snnguard.neurons.drawn import Noise
from snnguard.neurons.kernels import as_tensor
from snnguard.neurons.kernels.native import batch_moments

interpreted = find_spec("triton") is not None and os.environ.get("TRITON_INTERPRET") == "1"
BACKENDS: list[Callable[..., Any]] = [] if find_compiler() is None else [native]
MOMENTS: list[Callable[..., Any]] = [] if find_compiler() is None else [batch_moments]
if interpreted:
    BACKENDS.append(importlib.import_module("snnguard.neurons.kernels.gpu").gpu)
    MOMENTS.append(importlib.import_module("snnguard.neurons.kernels.gpu_elements").batch_moments)
SHAPES = [(2, 3, 4, 5), (3, 2, 1, 1), (2, 33, 3, 5), (1, 2, 37, 41), (1, 1, 1, 2)]


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def laid_out(x: Tensor, last: bool) -> Tensor:
    return x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (len(x), -1)) if last else x


def gradients(spikes: Tensor, seen: Any, asked: list[Tensor]) -> list[Tensor]:
    loss = (spikes * random(9, *spikes.shape)).sum()
    if seen is not None:
        parts = [part for part in (seen.mean, seen.var, seen.hinge, seen.potential) if part is not None]
        loss = loss + sum((part * random(8, *part.shape)).sum() for part in parts)
    return list(torch.autograd.grad(loss, asked))


@pytest.mark.parametrize("backend", BACKENDS)
@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    seed=st.integers(0, 2**20),
    shape=st.sampled_from(SHAPES),
    steps=st.integers(1, 5),
    static=st.booleans(),
    last=st.booleans(),
    of_batch=st.booleans(),
    noisy=st.booleans(),
    watch=st.sampled_from([Watch(), Watch(moments=True, bands=(0.2,)), Watch(potential=True)]),
)
def test_it_is_the_formula_and_then_the_reference_loop(
    backend, seed, shape, steps, static, last, of_batch, noisy, watch
) -> None:  # type: ignore[no-untyped-def]
    options = {
        "steps": steps, "decay": 0.7, "threshold": 1.0, "reset": "zero", "detach_reset": False, "surrogate": Triangle(),
        "watch": watch,
    }  # fmt: skip
    x = laid_out(random(seed, 1 if static else steps, *shape) * 2 + 0.5, last).requires_grad_()
    weight, bias = (random(seed + i, shape[1]).abs().add(0.5).requires_grad_() for i in (1, 2))
    over = (0, 1, 3, 4)
    mean, var = (x.mean(over), x.var(over, correction=0)) if of_batch else (random(3, shape[1]), random(4, shape[1]).abs())
    each = (1, 1, -1, 1, 1)
    precision = (var + 1e-3).rsqrt()
    current = x * (weight * precision).reshape(each) + (bias - mean * weight * precision).reshape(each)
    noise = Noise(seed, 0.3) if noisy else None
    added = as_tensor(noise, x.detach(), steps) if noise else None
    expected, wanted = unroll(current if added is None else current + added, noise=added, **options)
    norm = Normalisation(weight, bias, mean.detach(), var.detach(), 1e-3, of_batch)
    spikes, seen = backend(x, noise=noise if backend is native else added, norm=norm, **options)
    assert torch.equal(spikes, expected)
    asked = [x, weight, bias]
    for one, other in zip(gradients(spikes, seen, asked), gradients(expected, wanted, asked), strict=True):
        assert torch.allclose(one, other, rtol=1e-8, atol=1e-8 * float(other.abs().max() + 1))


@pytest.mark.parametrize("moments", MOMENTS)
@pytest.mark.parametrize("shape", [(3, 7, 2, 9, 8), (1, 2, 70, 5, 5), (4, 1, 3, 1, 1), (2, 40, 3, 6, 6)])
@pytest.mark.parametrize("last", [False, True])
def test_moments_are_those_of_the_batch(moments: Callable[..., Any], shape: tuple[int, ...], last: bool) -> None:
    x = laid_out(random(0, *shape) * 3 + 100, last)  # far from 0: sums of squares would lose most digits
    mean, var = moments(x)
    assert torch.allclose(mean.double(), x.mean((0, 1, 3, 4)), rtol=1e-12)
    assert torch.allclose(var.double(), x.var((0, 1, 3, 4), correction=0), rtol=1e-9)


@pytest.mark.skipif(not interpreted, reason="needs Triton's interpreter: make parity")
@pytest.mark.parametrize("size", [1, 7, 8, 9, 8200])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_spikes_come_back_from_bits(size: int, dtype: torch.dtype) -> None:
    elements = importlib.import_module("snnguard.neurons.kernels.gpu_elements")
    spikes = (random(size, size) > 0.3).to(dtype)
    bits, back = torch.full(((size + 7) // 8,), 255, dtype=torch.uint8), torch.full_like(spikes, 7)
    elements.pack(spikes, bits)
    assert int(bits[0]) & 1 == int(spikes[0])
    assert sum(int(byte).bit_count() for byte in bits) == int(spikes.count_nonzero())
    elements.unpack(bits, back)
    assert torch.equal(back, spikes)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("of_batch", [False, True])
def test_half_precision_is_rounded_as_if_it_were_stored(backend: Callable[..., Any], of_batch: bool) -> None:
    x = laid_out(random(0, 3, 2, 4, 5, 5).bfloat16(), last=True)
    norm = Normalisation(
        random(1, 4).float(), random(2, 4).float(), random(3, 4).float() / 5, random(4, 4).float().abs(), 1e-3, of_batch
    )
    options = {"steps": 3, "decay": 1.0, "threshold": 1.0, "reset": "zero", "detach_reset": False, "surrogate": Triangle()}
    leaves = [x.clone(memory_format=torch.preserve_format).requires_grad_() for _ in range(2)]
    found = backend(leaves[0], norm=norm, **options)[0]
    current = norm.over(leaves[1].flatten(0, 1)).unflatten(0, (3, -1))
    wanted = unroll(current.float(), **options)[0]
    assert torch.equal(found.float(), wanted)
    if not of_batch:
        one, other = (
            torch.autograd.grad((s.float() * random(5, *s.shape).float()).sum(), leaf)[0]
            for s, leaf in zip((found, wanted), leaves, strict=True)
        )
        assert torch.allclose(one.float(), other.float(), rtol=2e-2, atol=2e-2)
