"""Every backend against the reference loop: bits of the spikes, gradients, watched quantities, memory layouts, precisions."""

import importlib
import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from snnguard import compiled
from snnguard.compiled import compile_to, find_compiler
from snnguard.neurons import BPTT, LIF, Membrane, RateGradient, Surrogate, Triangle, Watch, fused, native, unroll, use_rule
from snnguard.neurons.drawn import Noise
from snnguard.neurons.kernels import as_tensor, run
from snnguard.neurons.kernels.build import SOURCES, library

SHAPES = [(3, 5), (1, 1), (2, 3, 4, 5), (3, 2, 1, 1), (2, 33, 3, 5), (2, 1100), (1, 2, 37, 41)]
BACKENDS: list[Callable[..., Any]] = [fused] if find_compiler() is None else [fused, native]
if find_spec("triton") and os.environ.get("TRITON_INTERPRET") == "1":  # `make parity`
    BACKENDS.append(importlib.import_module("snnguard.neurons.kernels.gpu").gpu)
backends = pytest.mark.parametrize("backend", BACKENDS)
surrogates = st.sampled_from([make() for make in Surrogate.members().values()])


def random(seed: int, *shape: int, scale: float = 1.0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def channels_last(x: Tensor) -> Tensor:
    """[T, N, C, H, W] with the memory order T, N, H, W, C."""
    return x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (len(x), -1))


def loss(spikes: Tensor, seen: Membrane | None, *, seed: int = 5) -> Tensor:
    """Any differentiable scalar of everything that carries a gradient."""
    total = (spikes * random(seed, *spikes.shape).to(spikes)).sum()
    if seen is not None:
        for i, part in enumerate((seen.mean, seen.var, seen.hinge, seen.potential)):
            if part is not None:
                total = total + (part * random(seed + 1 + i, *part.shape).to(part)).sum()
                total = total + (part.square().sum() * 0.3)
    return total


def found_by(
    backend: Callable[..., Any], current: Tensor, *, noise: Noise | None = None, **options: Any
) -> tuple[Tensor, Membrane | None, Tensor]:  # fmt: skip
    """Spikes, what was seen, and the gradient of `loss`. Only the compiled kernel draws the noise itself."""
    x = current.clone(memory_format=torch.preserve_format).detach().requires_grad_()
    if noise is None or backend is native:
        spikes, seen = backend(x, noise=noise, **options)
    else:
        added = as_tensor(noise, x, options["steps"])
        spikes, seen = backend(x + added, noise=added, **options)
    (gradient,) = torch.autograd.grad(loss(spikes, seen), x)
    return spikes.detach(), seen, gradient


@settings(deadline=None, derandomize=True, max_examples=150)
@given(
    seed=st.integers(0, 2**20),
    shape=st.sampled_from(SHAPES),
    steps=st.integers(1, 16),
    static=st.booleans(),
    last=st.booleans(),
    noisy=st.booleans(),
    decay=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    threshold=st.sampled_from([0.4, 1.0, 1.7]),
    reset=st.sampled_from(["zero", "subtract"]),
    detach=st.booleans(),
    surrogate=surrogates,
    moments=st.booleans(),
    bands=st.sampled_from([(), (0.5,), (0.1, 0.7)]),
    potential=st.booleans(),
)
def test_equals_the_reference(
    seed, shape, steps, static, last, noisy, decay, threshold, reset, detach, surrogate, moments, bands, potential
) -> None:  # type: ignore[no-untyped-def]
    current = random(seed, 1 if static else steps, *shape) + 0.3
    if last and len(shape) == 4:
        current = channels_last(current)
    noise = Noise(seed, 0.2) if noisy else None
    options = {
        "steps": steps, "decay": decay, "threshold": threshold, "reset": reset, "detach_reset": detach,
        "surrogate": surrogate, "watch": Watch(moments=moments, bands=bands, potential=potential),
    }  # fmt: skip
    reference = found_by(unroll, current, **options, noise=noise)
    for backend in BACKENDS:
        compare(
            reference, found_by(backend, current, **options, noise=noise), moments=moments, bands=bands, potential=potential
        )


def compare(reference: Any, kernel: Any, *, moments: bool, bands: tuple[float, ...], potential: bool) -> None:
    assert torch.equal(reference[0], kernel[0])
    assert kernel[0].unique().tolist() in ([0], [1], [0, 1])
    assert torch.allclose(reference[2], kernel[2], rtol=1e-10, atol=1e-10)
    if not (moments or bands or potential):
        assert reference[1] is kernel[1] is None
        return
    for name in ("mean", "var", "hinge", "potential", "spikes"):
        one, other = getattr(reference[1], name), getattr(kernel[1], name)
        assert (one is None) == (other is None), name
        assert one is None or torch.allclose(one, other, rtol=1e-11, atol=1e-11), name
    for seen in (reference[1], kernel[1]):
        assert seen.bands == bands
        assert seen.spikes is None or not seen.spikes.requires_grad
        assert seen.potential is None or seen.potential.requires_grad


@backends
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("decay", [0.7, 1.0])
def test_spikes_have_the_same_bits_in_every_precision(backend: Any, dtype: torch.dtype, reset: str, decay: float) -> None:
    # Many neurons near the threshold: one rounding more or less in either backend would show.
    current = (torch.rand(8, 64, 1000, generator=torch.Generator().manual_seed(0)) * 0.9).to(dtype)
    setting = {"decay": decay, "threshold": 1.0, "reset": reset, "detach_reset": False, "surrogate": Triangle()}
    one, other = unroll(current, steps=8, **setting)[0], backend(current, steps=8, **setting)[0]
    assert torch.equal(one, other)
    assert 0.1 < one.mean() < 0.9


@backends
def test_watching_does_not_move_a_bit(backend: Any) -> None:
    current = random(0, 4, 3, 2, 4, 4).float() + 0.3
    setting = {"steps": 4, "decay": 0.9, "threshold": 1.0, "reset": "zero", "detach_reset": False, "surrogate": Triangle()}
    plain = backend(current, **setting)[0]
    assert torch.equal(backend(current, watch=Watch(moments=True, bands=(0.3,), potential=True), **setting)[0], plain)


@backends
def test_memory_layout_is_kept(backend: Any) -> None:
    current = channels_last(random(0, 4, 3, 2, 4, 4)).requires_grad_()
    setting = {"decay": 0.9, "threshold": 1.0, "reset": "zero", "detach_reset": False, "surrogate": Triangle()}
    spikes, _ = backend(current, steps=4, **setting)
    assert spikes.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    (gradient,) = torch.autograd.grad(spikes.sum(), current)
    assert gradient.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


@backends
def test_an_expanded_current_is_not_written_to(backend: Any) -> None:
    base = random(0, 1, 3, 5).expand(4, 3, 5)
    before = base.clone()
    setting = {"decay": 0.5, "threshold": 1.0, "reset": "zero", "detach_reset": False, "surrogate": Triangle()}
    reference, kernel = (found_by(b, base, steps=4, watch=Watch(moments=True), **setting) for b in (unroll, backend))
    assert torch.equal(base, before)
    assert torch.equal(reference[0], kernel[0])
    assert torch.allclose(reference[2], kernel[2], atol=1e-12)


@pytest.mark.parametrize("backend", [unroll, *BACKENDS])
def test_gradients_of_one_step_by_hand(backend) -> None:  # type: ignore[no-untyped-def]
    # d mean/du = 1/n; d var/du = 2 (u - mean)/n; d hinge/du = -sign(ubar)/n inside the band, 0 outside.
    current = random(0, 1, 4, 3, 2, 2).requires_grad_()
    setting = {"decay": 1.0, "threshold": 0.5, "reset": "zero", "detach_reset": False, "surrogate": Triangle()}
    _, seen = backend(current, steps=1, watch=Watch(moments=True, bands=(0.6,)), **setting)
    ubar, n = current.detach()[0] - 0.5, 4 * 2 * 2
    channel = ubar.transpose(0, 1).flatten(1)
    assert torch.allclose(seen.mean[0], channel.mean(1))
    assert torch.allclose(seen.var[0], channel.var(1, correction=0))
    assert torch.allclose(seen.hinge[0], (0.6 - ubar.abs()).clamp(min=0).mean())
    (d_mean,) = torch.autograd.grad(seen.mean[0, 1], current, retain_graph=True)
    wanted = torch.zeros_like(current)
    wanted[0, :, 1] = 1 / n
    assert torch.allclose(d_mean, wanted, atol=1e-14)
    (d_var,) = torch.autograd.grad(seen.var[0, 2], current, retain_graph=True)
    wanted = torch.zeros_like(current)
    wanted[0, :, 2] = 2 * (ubar[:, 2] - ubar[:, 2].mean()) / n
    assert torch.allclose(d_var, wanted, atol=1e-14)
    (d_hinge,) = torch.autograd.grad(seen.hinge[0], current)
    assert torch.allclose(d_hinge[0], torch.where(ubar.abs() < 0.6, -ubar.sign() / ubar.numel(), 0.0), atol=1e-14)


@pytest.mark.parametrize("backend", [unroll, *BACKENDS])
def test_gradients_below_threshold_against_a_linear_map(backend) -> None:  # type: ignore[no-untyped-def]
    # Nothing fires and the surrogate is zero there, so u[t] = sum_k decay^(t - k) I[k] and autograd of that is the truth.
    steps, decay, threshold = 5, 0.8, 9.0
    current = random(3, steps, 3, 2, 2, 2, scale=0.5).requires_grad_()
    setting = {"decay": decay, "threshold": threshold, "reset": "zero", "detach_reset": False, "surrogate": Triangle()}
    spikes, seen = backend(current, steps=steps, watch=Watch(moments=True, bands=(9.5,)), **setting)
    assert not spikes.any()
    times = torch.arange(steps)
    powers = torch.where(times[:, None] >= times, decay ** (times[:, None] - times).clamp(min=0).double(), 0.0)
    ubar = torch.einsum("tk,k...->t...", powers, current) - threshold
    var, mean = torch.var_mean(ubar, dim=(1, 3, 4), correction=0)
    hinge = (9.5 - ubar.abs()).relu().mean()
    assert 0 < (ubar.abs() < 9.5).double().mean() < 1
    ours = (seen.mean * random(4, steps, 2)).sum() + (seen.var * random(5, steps, 2)).sum() + 3 * seen.hinge[0]
    truth = (mean * random(4, steps, 2)).sum() + (var * random(5, steps, 2)).sum() + 3 * hinge
    assert torch.allclose(ours, truth)
    ours_gradient, true_gradient = torch.autograd.grad(ours, current)[0], torch.autograd.grad(truth, current)[0]
    assert torch.allclose(ours_gradient, true_gradient, atol=1e-12)


@backends
def test_watched_gradients_pass_numerical_differences(backend: Any) -> None:
    # Moments and hinge are true functions of the current as long as no spike changes; no surrogate enters.
    current = random(7, 3, 2, 2).requires_grad_()
    setting = {"decay": 0.9, "threshold": 6.0, "reset": "zero", "detach_reset": True, "surrogate": Triangle(gamma=0.1)}

    def watched(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        seen = backend(x, steps=3, watch=Watch(moments=True, bands=(6.3,)), **setting)[1]
        assert seen is not None
        assert seen.mean is not None
        assert seen.var is not None
        assert seen.hinge is not None
        return seen.mean, seen.var, seen.hinge

    assert torch.autograd.gradcheck(watched, (current,))


@backends
def test_no_second_derivative_is_promised(backend: Any) -> None:
    x = random(0, 2, 1, 1).requires_grad_()
    setting = {"decay": 1.0, "threshold": 1.0, "reset": "zero", "detach_reset": False, "surrogate": Triangle()}
    weight = torch.ones(2, 1, 1, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad((backend(x, steps=2, **setting)[0] * weight).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("shape", [(4, 1, 3, 4, 4), (4, 1, 1, 1, 1), (4, 1, 3, 1, 1)], ids=["neuron", "layer", "channel"])
@pytest.mark.parametrize("given", [1, 4])
def test_a_leak_for_each_step_equals_the_reference(reset: str, detach: bool, shape: tuple[int, ...], given: int) -> None:
    current, leak = random(0, given, 2, 3, 4, 4) + 0.4, random(1, *shape).sigmoid()
    found = []
    for backend in (unroll, fused):
        x, free = current.clone().requires_grad_(), leak.clone().requires_grad_()
        spikes, seen = backend(
            x, steps=4, decay=0.3, threshold=0.8, reset=reset, detach_reset=detach, surrogate=Triangle(),
            watch=Watch(moments=True, bands=(0.4,), potential=True), leak=free,
        )  # fmt: skip
        found.append((spikes.detach(), *torch.autograd.grad(loss(spikes, seen), (x, free))))
    assert torch.equal(found[0][0], found[1][0])
    for one, other in zip(found[0][1:], found[1][1:], strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-10)
    assert not found[1][2][0].any()  # the decay into the first step never acts
    assert found[1][2][1:].any()


def test_a_leak_that_equals_the_decay_changes_no_bit() -> None:
    current = random(0, 4, 2, 30).float() + 0.4
    setting = {"steps": 4, "threshold": 1.0, "reset": "zero", "detach_reset": False, "surrogate": Triangle()}
    leak = torch.full((4, 1, 1), 0.7)
    assert torch.equal(fused(current, decay=0.1, leak=leak, **setting)[0], fused(current, decay=0.7, **setting)[0])


@pytest.mark.parametrize("surrogate", [make() for make in Surrogate.members().values()], ids=lambda h: h.kind)
@pytest.mark.parametrize("last", [False, True])
def test_float32_gradients_agree_to_rounding(surrogate: Surrogate, last: bool) -> None:
    current = random(3, 6, 4, 24, 5, 5).float() + 0.3
    current = channels_last(current) if last else current
    options = {
        "steps": 6, "decay": 0.9, "threshold": 1.0, "reset": "zero", "detach_reset": False, "surrogate": surrogate,
        "watch": Watch(moments=True, bands=(0.4,)),
    }  # fmt: skip
    spikes, seen, gradient = found_by(unroll, current, **options)
    for backend in BACKENDS:
        other = found_by(backend, current, **options)
        assert torch.equal(other[0], spikes)
        assert torch.allclose(other[1].mean, seen.mean, atol=1e-6)
        assert torch.allclose(other[1].var, seen.var, rtol=1e-5)
        assert torch.allclose(other[1].hinge, seen.hinge, rtol=1e-5)
        assert torch.allclose(other[2], gradient, rtol=1e-5, atol=1e-5 * float(gradient.abs().max()))


needs_a_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C compiler here")


@needs_a_compiler
@pytest.mark.parametrize("steps", [1, 4, 16])
@pytest.mark.parametrize("last", [False, True])
def test_bfloat16_is_float32_inside(steps: int, last: bool) -> None:
    # The same numbers in float32, rounded once at the end, are what half precision should give. The band is no sum of
    # powers of two: at the very edge of a band the two backends take different sides of the kink.
    current = (random(0, steps, 3, 17, 5, 5) + 0.4).bfloat16()
    current = channels_last(current) if last else current
    options = {"steps": steps, "decay": 0.7, "threshold": 1.0, "reset": "zero", "detach_reset": False, "surrogate": Triangle()}
    half, full = current.clone(memory_format=torch.preserve_format), current.float()
    half.requires_grad_(), full.requires_grad_()
    spikes, seen = native(half, watch=Watch(moments=True, bands=(0.47,)), **options)
    wanted, wanted_seen = unroll(full, watch=Watch(moments=True, bands=(0.47,)), **options)
    assert spikes.dtype == torch.bfloat16
    assert torch.equal(spikes.float(), wanted)
    assert seen.var.dtype == torch.float32
    assert torch.allclose(seen.var, wanted_seen.var, rtol=1e-5)
    weight = random(1, *spikes.shape).bfloat16()
    (gradient,) = torch.autograd.grad((spikes * weight).sum() + seen.var.sum() + seen.hinge.sum(), half)
    (wanted_gradient,) = torch.autograd.grad(
        (wanted * weight.float()).sum() + wanted_seen.var.sum() + wanted_seen.hinge.sum(), full
    )
    assert torch.allclose(gradient.float(), wanted_gradient, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_rules_agree_in_half_precision(dtype: torch.dtype) -> None:
    neuron = LIF(decay=0.6).build(steps=4)
    current = (random(0, 4, 3, 50) + 0.4).to(dtype)
    own = neuron(current)
    for rule in (BPTT(), RateGradient()):
        with use_rule(neuron, rule):
            assert torch.equal(neuron(current), own)
    assert torch.equal(
        own.double(), unroll(current.float(), steps=4, surrogate=Triangle(), **LIF(decay=0.6).constants())[0].double()
    )


@needs_a_compiler
@pytest.mark.parametrize("last", [False, True])
def test_moments_do_not_depend_on_the_threads_and_are_exact_for_constants(last: bool) -> None:
    current = random(0, 4, 37, 24, 6, 6).float() + 0.3
    current[:, :, 3] = 0.1
    current = channels_last(current) if last else current
    options = {"steps": 4, "decay": 1.0, "threshold": 1.0, "reset": "zero", "detach_reset": False, "surrogate": Triangle()}
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(native(current, watch=Watch(moments=True, bands=(0.3,)), **options)[1])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert torch.equal(other.mean, found[0].mean)
        assert torch.equal(other.var, found[0].var)
        assert torch.equal(other.hinge, found[0].hinge)
    assert not found[0].var[:, 3].any()


@needs_a_compiler
@pytest.mark.parametrize("shape", [(4, 0, 3), (4, 2, 0, 5, 5), (4, 0)])
def test_nothing_in_nothing_out(shape: tuple[int, ...]) -> None:
    current = torch.zeros(shape, requires_grad=True)
    spikes, _ = run(current, steps=4, surrogate=Triangle(), **LIF().constants())
    assert spikes.shape == shape
    spikes.sum().backward()


@needs_a_compiler
def test_gradients_arrive_in_any_memory_order() -> None:
    current = channels_last(random(0, 4, 3, 6, 4, 4)).requires_grad_()
    options = {"steps": 4, "decay": 1.0, "threshold": 1.0, "reset": "zero", "detach_reset": False, "surrogate": Triangle()}
    weight = random(1, 4, 3, 6, 4, 4)
    first = torch.autograd.grad(native(current, **options)[0], current, weight)[0]
    second = torch.autograd.grad(native(current, **options)[0], current, channels_last(weight))[0]
    assert torch.equal(first, second)


def test_without_a_compiler_pytorch_does_the_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, caplog: Any) -> None:
    options = {"steps": 4, "surrogate": Triangle(), **LIF(decay=0.5).constants()}
    current = random(0, 4, 3, 50).float()
    wanted = run(current, **options)[0]
    monkeypatch.setenv("SNNGUARD_CACHE", str(tmp_path))
    for name, value in (("SNNGUARD_KERNEL", "torch"), ("PATH", str(tmp_path)), ("CC", "false")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            compiled.library.cache_clear()
            try:
                assert library() is None
                assert torch.equal(run(current, **options)[0], wanted)
            finally:
                compiled.library.cache_clear()
    assert "could not be built" in caplog.text


@needs_a_compiler
def test_a_library_is_compiled_anew_where_there_is_none(tmp_path: Any) -> None:
    compiler = find_compiler()
    assert compiler is not None
    compile_to(tmp_path / "kernel.so", SOURCES[0], compiler)
    assert [path.name for path in tmp_path.iterdir()] == ["kernel.so"]


@needs_a_compiler
@pytest.mark.parametrize("shape", [(1000, 1000), (1, 10, 100, 1000)])
def test_noise_is_gaussian_and_independent(shape: tuple[int, ...]) -> None:
    draws = [as_tensor(Noise(seed, 1.0), torch.zeros(1, *shape), 2).flatten() for seed in (0, 1)]
    for x in draws:
        assert stats.kstest(x.numpy(), "norm").pvalue > 1e-3
        n = len(x) ** 0.5
        assert abs(float(x.mean())) < 4 / n
        assert abs(float(x.square().mean()) - 1) < 4 * 2**0.5 / n
        assert abs(float(x.pow(4).mean()) - 3) < 4 * 96**0.5 / n
        assert 4.4 < float(x.abs().max()) < 6.5
        for lag in (1, 2, 16, 1000, len(x) // 2):
            assert abs(float((x[lag:] * x[:-lag]).mean())) < 5 / n
            assert abs(float(((x[lag:].square() - 1) * (x[:-lag].square() - 1)).mean())) < 5 * 2 / n
    assert abs(float((draws[0] * draws[1]).mean())) < 5 / n
    assert not torch.equal(draws[0].sort()[0], draws[1].sort()[0])
    assert torch.equal(as_tensor(Noise(0, 1.0), torch.zeros(1, *shape), 2).flatten(), draws[0])


def test_noise_without_a_compiler_is_known_by_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snnguard.neurons.kernels.noise.library", lambda: None)
    current = torch.zeros(1, 20, 30)
    one, same, other = (as_tensor(Noise(seed, 0.5), current, 3) for seed in (4, 4, 5))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.shape == (3, 20, 30)
    assert 0.4 < float(one.std()) < 0.6


ORDERS: dict[str, Callable[[Tensor], Tensor]] = {
    "transposed images": lambda x: x.transpose(-1, -2).contiguous().transpose(-1, -2),
    "samples inside": lambda x: x.transpose(1, 2).contiguous().transpose(1, 2),
    "tokens": lambda x: x.flatten(-2).transpose(-1, -2).contiguous().transpose(-1, -2),
    "features first": lambda x: x.flatten(2).transpose(1, 2).contiguous().transpose(1, 2),
    "channels last in 3-D": lambda x: x[..., None].permute(0, 1, 3, 4, 5, 2).contiguous().permute(0, 1, 5, 2, 3, 4),
    "every other": lambda x: x.repeat_interleave(2, -1)[..., ::2],
}


@backends
@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_any_memory_order_gives_the_same(backend: Any, order: Callable[[Tensor], Tensor]) -> None:
    current = order(random(0, 4, 3, 6, 4, 5) + 0.3)
    options = {
        "steps": 4, "decay": 0.9, "threshold": 1.0, "reset": "zero", "detach_reset": False, "surrogate": Triangle(),
        "watch": Watch(moments=True, bands=(0.4,), potential=True),
    }  # fmt: skip
    found = []
    for one in (unroll, backend):
        x = current.detach().requires_grad_()
        spikes, seen = one(x, **options)
        weight = random(7, seen.var.shape[1], 4)
        # Transposed, so that the gradient of the variance arrives as no kernel would lay it out.
        found.append(
            (spikes, seen.mean, seen.var, torch.autograd.grad(loss(spikes, seen) + (seen.var.t() * weight).sum(), x)[0])
        )
    for reference, kernel in zip(*found, strict=True):
        assert torch.allclose(reference, kernel, rtol=1e-10, atol=1e-10)


@backends
def test_inference_mode_and_other_default_devices_do_no_harm(backend: Any) -> None:
    current = random(0, 4, 3, 6).float()
    options = {"steps": 4, "decay": 0.9, "threshold": 1.0, "reset": "zero", "detach_reset": False, "surrogate": Triangle()}
    wanted = backend(current, **options)[0]
    with torch.inference_mode():
        assert torch.equal(backend(current, **options)[0], wanted)
    with torch.device("meta"):
        spikes, seen = backend(current, watch=Watch(moments=True, bands=(0.1,)), **options)
    assert torch.equal(spikes, wanted)
    assert seen.mean.device.type == "cpu"


def test_a_compiler_that_does_not_run_is_no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    broken = tmp_path / "cc"
    broken.write_bytes(b"\x00 no program")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    compiled.library.cache_clear()
    try:
        assert library() is None
    finally:
        compiled.library.cache_clear()
