"""The fused kernel against the reference loop: bits of the spikes, gradients, watched quantities, memory layouts."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from snnguard.neurons import Membrane, Surrogate, Triangle, Watch, fused, unroll

SHAPES = [(3, 5), (1, 1), (2, 3, 4, 5), (3, 2, 1, 1)]
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


def both(current: Tensor, **options: Any) -> list[tuple[Tensor, Membrane | None, Tensor]]:
    found = []
    for backend in (unroll, fused):
        x = current.clone(memory_format=torch.preserve_format).detach().requires_grad_()
        spikes, seen = backend(x, **options)
        (gradient,) = torch.autograd.grad(loss(spikes, seen), x)
        found.append((spikes.detach(), seen, gradient))
    return found


@settings(deadline=None, derandomize=True, max_examples=150)
@given(
    seed=st.integers(0, 2**20),
    shape=st.sampled_from(SHAPES),
    steps=st.integers(1, 6),
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
    noise = random(seed + 1, steps, *shape, scale=0.2) if noisy and not static else None
    if noise is not None:
        current = current + noise
    if last and len(shape) == 4:
        current = channels_last(current)
    reference, kernel = both(
        current, steps=steps, decay=decay, threshold=threshold, reset=reset, detach_reset=detach, surrogate=surrogate,
        watch=Watch(moments=moments, bands=bands, potential=potential), noise=noise,
    )  # fmt: skip
    assert torch.equal(reference[0], kernel[0])
    assert kernel[0].unique().tolist() in ([0], [1], [0, 1])
    assert torch.allclose(reference[2], kernel[2], rtol=1e-10, atol=1e-10)
    if not (moments or bands or potential):
        assert reference[1] is kernel[1] is None
        return
    for name in ("mean", "var", "hinge", "potential", "spikes"):
        one, other = getattr(reference[1], name), getattr(kernel[1], name)
        assert (one is None) == (other is None), name
        assert one is None or torch.allclose(one, other, rtol=1e-12, atol=1e-12), name
    for seen in (reference[1], kernel[1]):
        assert seen.bands == bands
        assert seen.spikes is None or not seen.spikes.requires_grad
        assert seen.potential is None or seen.potential.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("decay", [0.7, 1.0])
def test_spikes_have_the_same_bits_in_every_precision(dtype: torch.dtype, reset: str, decay: float) -> None:
    # Many neurons near the threshold: one rounding more or less in either backend would show.
    current = (torch.rand(8, 64, 1000, generator=torch.Generator().manual_seed(0)) * 0.9).to(dtype)
    setting = {"decay": decay, "threshold": 1.0, "reset": reset, "detach_reset": False, "surrogate": Triangle()}
    one, other = unroll(current, steps=8, **setting)[0], fused(current, steps=8, **setting)[0]
    assert torch.equal(one, other)
    assert 0.1 < one.mean() < 0.9


def test_watching_does_not_move_a_bit() -> None:
    current = random(0, 4, 3, 2, 4, 4).float() + 0.3
    setting = {"steps": 4, "decay": 0.9, "threshold": 1.0, "reset": "zero", "detach_reset": False, "surrogate": Triangle()}
    plain = fused(current, **setting)[0]
    assert torch.equal(fused(current, watch=Watch(moments=True, bands=(0.3,), potential=True), **setting)[0], plain)


def test_memory_layout_is_kept() -> None:
    current = channels_last(random(0, 4, 3, 2, 4, 4)).requires_grad_()
    setting = {"decay": 0.9, "threshold": 1.0, "reset": "zero", "detach_reset": False, "surrogate": Triangle()}
    spikes, _ = fused(current, steps=4, **setting)
    assert spikes.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    (gradient,) = torch.autograd.grad(spikes.sum(), current)
    assert gradient.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


def test_an_expanded_current_is_not_written_to() -> None:
    base = random(0, 1, 3, 5).expand(4, 3, 5)
    before = base.clone()
    setting = {"decay": 0.5, "threshold": 1.0, "reset": "zero", "detach_reset": False, "surrogate": Triangle()}
    reference, kernel = both(base, steps=4, watch=Watch(moments=True), **setting)
    assert torch.equal(base, before)
    assert torch.equal(reference[0], kernel[0])
    assert torch.allclose(reference[2], kernel[2], atol=1e-12)


@pytest.mark.parametrize("backend", [unroll, fused])
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


@pytest.mark.parametrize("backend", [unroll, fused])
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


def test_watched_gradients_pass_numerical_differences() -> None:
    # Moments and hinge are true functions of the current as long as no spike changes; no surrogate enters.
    current = random(7, 3, 2, 2).requires_grad_()
    setting = {"decay": 0.9, "threshold": 6.0, "reset": "zero", "detach_reset": True, "surrogate": Triangle(gamma=0.1)}

    def watched(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        seen = fused(x, steps=3, watch=Watch(moments=True, bands=(6.3,)), **setting)[1]
        assert seen is not None
        assert seen.mean is not None
        assert seen.var is not None
        assert seen.hinge is not None
        return seen.mean, seen.var, seen.hinge

    assert torch.autograd.gradcheck(watched, (current,))


def test_no_second_derivative_is_promised() -> None:
    x = random(0, 2, 1, 1).requires_grad_()
    setting = {"decay": 1.0, "threshold": 1.0, "reset": "zero", "detach_reset": False, "surrogate": Triangle()}
    weight = torch.ones(2, 1, 1, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad((fused(x, steps=2, **setting)[0] * weight).sum(), x, create_graph=True)
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
