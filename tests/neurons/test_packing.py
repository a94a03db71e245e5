"""Spikes kept as bits: the same gradients to the last bit, less memory, and nothing else is touched."""

import gc
import weakref
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from snnguard import networks
from snnguard.compiled import find_compiler
from snnguard.neurons import LIF, packed_spikes
from snnguard.neurons.kernels.packing import _pack, _unpack

needs_a_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C compiler here")


def spikes(*shape: int, dtype: torch.dtype = torch.float32, last: bool = False) -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype) + 1
    if last:
        x = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (shape[0], -1))
    return LIF().build(steps=shape[0])(x)


@needs_a_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(4, 3, 5, 7, 2), (1, 1), (2, 3, 3), (4, 2, 8, 8, 8)])
@pytest.mark.parametrize("last", [False, True])
def test_what_comes_back_is_what_was_kept(dtype: torch.dtype, shape: tuple[int, ...], last: bool) -> None:
    given = spikes(*shape, dtype=dtype, last=last and len(shape) == 5)
    for view in (given, given.flatten(0, 1)):
        kept = _pack(view)
        assert not isinstance(kept, Tensor)
        assert kept.bits.numel() == (given.numel() + 7) // 8
        back = _unpack(kept)
        assert torch.equal(back, view)
        assert back.stride() == view.stride()
        assert back.dtype == dtype
    assert _pack(given).bits is _pack(given.flatten(0, 1)).bits  # kept twice, packed once


@needs_a_compiler
def test_only_whole_untouched_trains_are_packed() -> None:
    given = spikes(4, 3, 8)
    assert _pack(given[1]) is not None
    for other in (
        given[1],
        given * 2,
        torch.ones(3),
        given.double(),
        given[-1:].expand_as(given),
        given[:, :1].expand_as(given),
    ):
        assert _pack(other) is other
    given.mul_(2)
    assert _pack(given) is given


@needs_a_compiler
@pytest.mark.parametrize("name", ["vgg4-tiny", "wrn16"])
def test_training_gradients_have_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(6)
    found = []
    for packs in (True, False):
        model = networks.build(name, image_shape=(3, 8, 8), steps=3, seed=0).train()
        if not packs:
            monkeypatch.setattr("snnguard.networks.classifier.packed_spikes", nullcontext)
        nn.functional.cross_entropy(model(x), y).backward()
        found.append([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert len(found[0]) > 5


@needs_a_compiler
def test_the_input_of_a_layer_does_not_outlive_the_forward_pass() -> None:
    layer, alive = nn.Conv2d(16, 4, 3), []
    for block in (nullcontext, packed_spikes):
        given = spikes(4, 8, 16, 8, 8)
        with block():
            out = layer(given.flatten(0, 1))
        alive.append(weakref.ref(given))
        del given
        gc.collect()
        assert (alive[-1]() is None) == (block is packed_spikes)
        out.sum().backward()


@needs_a_compiler
def test_a_step_that_is_repeated_is_not_taken_for_the_whole_train() -> None:
    given = spikes(4, 3, 8)
    weight = torch.ones(4, 3, 8, requires_grad=True)
    with packed_spikes():
        out = weight * given[-1:].expand_as(given)
    (gradient,) = torch.autograd.grad(out.sum(), weight)
    assert torch.equal(gradient, given[-1:].expand_as(given))
