"""Convolutions and linear layers: what the matrix units give against integers, float64 and PyTorch's own; and where they stand
back."""

import copy
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from snnguard import networks
from snnguard.layers import Conv2d, Linear, matrix
from snnguard.neurons import LIF
from snnguard.neurons.kernels.packing import _pack

needs_units = pytest.mark.skipif(matrix.library() is None, reason="no matrix units here")


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def spikes(seed: int, *shape: int, rate: float = 0.3) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < rate).float()


def plain(layer: nn.Module) -> nn.Module:
    """PyTorch's layer with the same weights."""
    twin = copy.deepcopy(layer)
    twin.__class__ = nn.Conv2d if isinstance(layer, nn.Conv2d) else nn.Linear
    return twin


def found_by(layer: nn.Module, x: Tensor, gradient_seed: int = 9) -> list[Tensor]:
    """The output, and the gradients of input, weight and bias for a random gradient of the output."""
    leaf = x.clone(memory_format=torch.preserve_format).requires_grad_()
    out = layer(leaf)
    weights = draw(gradient_seed, *out.shape).to(out)
    return [out.detach(), *torch.autograd.grad((out * weights).sum(), [leaf, *layer.parameters()])]


def exact(layer: nn.Module, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The same in float64; and the sums of the sizes of all terms, in units of which roundings are counted."""
    double = plain(layer).double()
    sizes = copy.deepcopy(double)
    for parameter in sizes.parameters():
        parameter.data.abs_()
    leaf = x.double().abs().requires_grad_()
    out = sizes(leaf)
    weights = draw(9, *out.shape).double().abs()
    return found_by(double, x.double()), [
        out.detach(),
        *torch.autograd.grad((out * weights).sum(), [leaf, *sizes.parameters()]),
    ]


SHAPES = st.tuples(
    st.integers(1, 5),  # images
    st.sampled_from([32, 48, 64, 96, 160]),  # channels
    st.sampled_from([16, 32, 48, 80]),  # outputs
    st.sampled_from([(1, 1), (3, 3), (4, 4), (7, 9), (8, 8), (16, 16), (5, 32)]),  # size
    st.sampled_from([(1, 1, 0), (3, 1, 1), (3, 2, 1), (1, 2, 0), (5, 1, 2), (3, 1, 0), (2, 2, 0), (3, 3, 2), ((3, 1), 1, 0)]),
)


@given(SHAPES, st.sampled_from(["spikes", "means", "numbers"]), st.booleans(), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_convolutions_are_as_exact_as_float32_allows(shape: tuple, kind: str, bias: bool, seed: int) -> None:
    images, channels, outputs, size, (kernel, stride, padding) = shape
    if min(size) + 2 * padding < (max(kernel) if isinstance(kernel, tuple) else kernel):
        return
    layer = Conv2d(channels, outputs, kernel, stride=stride, padding=padding, bias=bias)
    torch.nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(seed))
    x = draw(seed, images, channels, *size)
    if kind != "numbers":
        x = spikes(seed, *x.shape) if kind == "spikes" else (spikes(seed, *x.shape) + spikes(seed + 1, *x.shape)) / 4
    wanted, sizes = exact(layer, x)
    for found, target, terms in zip(found_by(layer, x), wanted, sizes, strict=True):
        assert found.shape == target.shape
        assert ((found - target).abs() <= 1e-6 * terms + 1e-30).all()


@needs_units
@pytest.mark.parametrize("rows", [1, 33, 300])
@pytest.mark.parametrize("kind", ["spikes", "numbers"])
def test_linear_layers_too(rows: int, kind: str) -> None:
    layer = Linear(1088, 1040)
    x = spikes(1, rows, 1088) if kind == "spikes" else draw(1, rows, 1088)
    assert "_Linear" in type(layer(x).grad_fn).__name__
    wanted, sizes = exact(layer, x)
    for found, target, terms in zip(found_by(layer, x), wanted, sizes, strict=True):
        assert ((found - target).abs() <= 1e-6 * terms).all()


@needs_units
def test_a_very_wide_layer_comes_to_an_end() -> None:
    layer, x = Linear(32, 49_152, bias=False), spikes(1, 40, 32)
    (gradient,) = torch.autograd.grad(layer(x).sum(), layer.weight)
    assert torch.equal(gradient, x.sum(0).expand_as(layer.weight))


@needs_units
@pytest.mark.parametrize("kernel", [1, 3])
def test_a_lone_spike_gives_the_weight_to_the_last_bit(kernel: int) -> None:
    """All 24 bits of each weight arrive, so all its pieces do."""
    layer = Conv2d(64, 32, kernel, padding=kernel // 2, bias=False)
    for channel in (0, 17, 31, 32, 63):
        x = torch.zeros(1, 64, 5, 5)
        x[0, channel, 2, 2] = 1
        out = layer(x)[0].detach()
        beside = kernel // 2
        window = out[:, 2 - beside : 3 + beside, 2 - beside : 3 + beside]
        assert torch.equal(window, layer.weight[:, channel].detach().flip(1, 2))
        assert out.count_nonzero() <= 32 * kernel * kernel


@needs_units
def test_whole_numbers_are_added_without_error() -> None:
    """Sums of whole numbers below 2^24 have no rounding, whatever their order: the same bits as PyTorch, forward and back."""
    layer = Conv2d(64, 48, 3, padding=1)
    with torch.no_grad():
        layer.weight.copy_((draw(0, *layer.weight.shape) * 1000).round())
        layer.bias.copy_((draw(1, 48) * 1000).round())
    x = spikes(2, 3, 64, 9, 7).requires_grad_()
    results = []
    for one in (layer, plain(layer)):
        out = one(x)
        weights = (draw(3, *out.shape) * 30).round()
        results.append([out, *torch.autograd.grad((out * weights).sum(), [x, *one.parameters()])])
    assert "_Convolution" in type(results[0][0].grad_fn).__name__
    for ours, theirs in zip(*results, strict=True):
        assert torch.equal(ours, theirs)


@needs_units
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("channels", "kernel"), [(64, 3), (128, 3), (256, 2), (704, 1)])
def test_an_image_does_not_depend_on_its_batch_nor_on_the_threads(last: bool, channels: int, kernel: int) -> None:
    layer = Conv2d(channels, 96, kernel, padding=kernel // 2)
    x = spikes(0, 70, channels, 8, 8)
    x[5] = draw(1, channels, 8, 8)  # this one alone needs three pieces
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    threads = torch.get_num_threads()
    whole = found_by(layer, x)
    assert torch.equal(layer(x[3:4]), whole[0][3:4])
    assert torch.equal(layer(x[4:9]), whole[0][4:9])
    try:
        for number in (1, 2, 5):
            torch.set_num_threads(number)
            for one, other in zip(found_by(layer, x), whole, strict=True):
                assert torch.equal(one, other)
    finally:
        torch.set_num_threads(threads)


def test_what_is_no_number_stays_none() -> None:
    layer = Conv2d(32, 32, 3, padding=1)
    x = spikes(0, 2, 32, 8, 8)
    x[1, 3, 4, 4] = torch.nan
    out = layer(x)
    assert out[1, :, 3:6, 3:6].isnan().all()
    assert out[0].isfinite().all()


@pytest.fixture
def without_units(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(matrix, "library", lambda: None)
    return


LAYERS = {
    "few channels": lambda: Conv2d(16, 32, 3),
    "odd channels": lambda: Conv2d(40, 32, 3),
    "odd outputs": lambda: Conv2d(32, 10, 3),
    "groups": lambda: Conv2d(64, 64, 3, groups=2),
    "dilation": lambda: Conv2d(32, 32, 3, dilation=2),
    "two strides": lambda: Conv2d(32, 32, 3, stride=(1, 2)),
    "padding by name": lambda: Conv2d(32, 32, 3, padding="same"),
    "padding with images": lambda: Conv2d(32, 32, 3, padding=1, padding_mode="circular"),
    "wide padding": lambda: Conv2d(32, 32, 1, padding=1),
    "double": lambda: Conv2d(32, 32, 3).double(),
    "small linear": lambda: Linear(64, 32),
}


@pytest.mark.parametrize("name", LAYERS)
def test_what_the_units_cannot_do_is_pytorchs(name: str) -> None:
    layer = LAYERS[name]()
    shape = (3, layer.in_channels, 8, 8) if isinstance(layer, nn.Conv2d) else (3, layer.in_features)
    x = spikes(0, *shape).to(layer.weight)
    for ours, theirs in zip(found_by(layer, x), found_by(plain(layer), x), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("make", [lambda: Conv2d(32, 32, 3, padding=1), lambda: Linear(1024, 1024)])
def test_without_units_it_is_pytorchs(make: type, without_units: None) -> None:
    layer = make()
    x = spikes(0, 4, 32, 8, 8) if isinstance(layer, nn.Conv2d) else spikes(0, 4, 1024)
    for ours, theirs in zip(found_by(layer, x), found_by(plain(layer), x), strict=True):
        assert torch.equal(ours, theirs)


def test_autocast_is_heeded() -> None:
    layer, x = Conv2d(32, 32, 3), spikes(0, 2, 32, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
        assert torch.equal(layer(x), plain(layer)(x))


def test_transforms_of_functions_work() -> None:
    layer, x = Conv2d(32, 32, 3), spikes(0, 2, 32, 8, 8)
    by_sample = torch.func.vmap(lambda image: layer(image[None])[0])(x)
    assert torch.allclose(by_sample, layer(x), atol=1e-5)


@pytest.mark.parametrize("make", [lambda: Conv2d(32, 32, 3, stride=2, padding=1), lambda: Linear(1024, 1024)])
def test_second_derivatives_are_pytorchs(make: type) -> None:
    layer = make()
    x = draw(0, 2, 32, 8, 8) if isinstance(layer, nn.Conv2d) else draw(0, 2, 1024)
    results = []
    for one in (layer, plain(layer)):
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(one(leaf).square().sum(), leaf, create_graph=True)
        gradient.square().sum().backward()
        results.append([leaf.grad, one.weight.grad, one.bias.grad])
        results[-1].append(torch.autograd.functional.hvp(lambda x, one=one: one(x).square().sum(), x, x)[1])
    for ours, theirs in zip(*results, strict=True):
        assert theirs.abs().max() > 0
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-3 * float(theirs.abs().max()))


def test_many_gradients_at_once() -> None:
    layer, x = Conv2d(32, 32, 3), spikes(0, 1, 32, 4, 4)
    jacobians = [torch.autograd.functional.jacobian(one, x, vectorize=True) for one in (layer, plain(layer))]
    assert torch.allclose(*jacobians, atol=1e-6)


@needs_units
@pytest.mark.parametrize("size", [1e-20, 1e-34, 1e-37])
def test_small_gradients_keep_their_digits(size: float) -> None:
    """The units take what is below 2^-126 for zero, and so would lose the pieces of small numbers first."""
    layer, x = Conv2d(64, 64, 3, padding=1, bias=False), draw(0, 3, 64, 6, 6)
    weights = draw(1, 3, 64, 6, 6)
    weights[1] *= size
    wanted, found = (
        torch.autograd.grad(one(leaf), leaf, weights)[0]
        for one, leaf in ((plain(layer), x.clone().requires_grad_()), (layer, x.clone().requires_grad_()))
    )
    for image in range(3):
        assert (found[image] - wanted[image]).abs().max() <= 1e-5 * wanted[image].abs().max()


@needs_units
@pytest.mark.parametrize("change", ["bias of steps", "bias repeated", "negative view", "transposed weight"])
def test_however_tensors_lie_in_memory(change: str) -> None:
    layer, x = Conv2d(32, 32, 3, padding=1), draw(0, 2, 32, 8, 8)
    if change == "bias of steps":
        layer.bias = nn.Parameter(torch.randn(64)[::2])
    elif change == "bias repeated":
        del layer.bias
        layer.bias = torch.full((1,), 0.5).expand(32)
    elif change == "negative view":
        x = torch._neg_view(x)
    else:
        layer.weight = nn.Parameter(draw(3, 32, 32, 3, 3).transpose(0, 1))
    wanted = functional.conv2d(x.double(), layer.weight.double(), layer.bias.double(), padding=1)
    assert torch.allclose(layer(x).double(), wanted, atol=1e-5)


def test_wrong_shapes_raise_as_in_pytorch() -> None:
    with pytest.raises(RuntimeError, match="expected input"):
        Conv2d(32, 32, 3)(torch.zeros(1, 64, 8, 8))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        Linear(1024, 1024)(torch.zeros(3, 512))
    for layer, shape in ((Conv2d(32, 32, 5), (1, 32, 4, 4)), (Conv2d(32, 32, 3, stride=2), (1, 32, 2, 9))):
        with pytest.raises(RuntimeError, match="Kernel size"):
            layer(torch.zeros(shape))
    short = Conv2d(32, 32, 3)
    short.bias = nn.Parameter(torch.zeros(16))
    with pytest.raises(RuntimeError, match="bias"):
        short(torch.zeros(1, 32, 8, 8))
    assert Conv2d(32, 32, 3)(torch.zeros(0, 32, 8, 8)).shape == (0, 32, 6, 6)
    assert Conv2d(32, 32, 3)(torch.zeros(32, 8, 8)).shape == (32, 6, 6)


@pytest.mark.parametrize("make", [lambda: Conv2d(32, 32, 3, padding=1), lambda: Linear(1024, 1024)])
def test_what_comes_out_may_be_written_to(make: type) -> None:
    layer = make()
    x = spikes(0, 4, 32, 8, 8) if isinstance(layer, nn.Conv2d) else spikes(0, 4, 1024)
    expected = layer(x) * 2
    out = layer(x)
    out *= 2
    assert torch.equal(out, expected)
    out.sum().backward()
    assert layer.weight.grad is not None


@pytest.mark.parametrize("frozen", ["weight", "bias"])
def test_parts_may_be_frozen(frozen: str) -> None:
    layer, x = Conv2d(32, 32, 3, padding=1), spikes(0, 4, 32, 8, 8)
    getattr(layer, frozen).requires_grad_(False)
    layer(x).square().sum().backward()
    assert [parameter.grad is None for parameter in (layer.weight, layer.bias)] == [frozen == "weight", frozen == "bias"]


def test_states_are_pytorchs() -> None:
    layer = Conv2d(32, 48, 3)
    assert list(layer.state_dict()) == ["weight", "bias"]
    nn.Conv2d(32, 48, 3).load_state_dict(layer.state_dict())
    assert isinstance(layer, nn.Conv2d)
    assert isinstance(Linear(2, 3), nn.Linear)


@needs_units
@pytest.mark.parametrize("last", [False, True])
def test_spikes_wait_as_bits_in_any_order_of_memory(last: bool) -> None:
    train = LIF().build(steps=4)(draw(0, 4, 2, 32, 8, 8) + 0.5).flatten(0, 1)
    if last:
        currents = (draw(0, 8, 32, 8, 8) + 0.5).contiguous(memory_format=torch.channels_last).unflatten(0, (4, 2))
        train = LIF().build(steps=4)(currents).flatten(0, 1)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(_pack(x)) or x, lambda x: x):
        Conv2d(32, 32, 3)(train)
    assert any(not isinstance(one, Tensor) for one in kept)


@needs_units
def test_spikes_of_a_neuron_are_taken_without_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    train = LIF().build(steps=4)(draw(0, 4, 2, 32, 8, 8) + 0.5).flatten(0, 1)
    assert matrix.pieces(train) == 1
    assert matrix.pieces(functional.avg_pool2d(train, 2)) == 1
    assert matrix.pieces(train * 0.1) == 3
    train.mul_(0.1)  # written to: no longer what it was
    assert matrix.pieces(train) == 3


@needs_units
def test_a_network_trains_and_is_attacked_as_with_pytorchs_layers() -> None:
    ours = networks.build("vgg5-slim", steps=2, image_shape=(3, 16, 16))
    theirs = copy.deepcopy(ours)
    swapped = [module for module in theirs.modules() if isinstance(module, Conv2d | Linear)]
    for module in swapped:
        module.__class__ = nn.Conv2d if isinstance(module, nn.Conv2d) else nn.Linear
    x, y = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.arange(8)
    for model in (ours, theirs):
        functional.cross_entropy(model(x), y).backward()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, rtol=1e-3, atol=1e-5)
