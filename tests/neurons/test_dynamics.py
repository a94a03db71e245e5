"""The equations: golden values of METHODS 1.1, traces by hand, and the Jacobian by forward accumulation."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from snnguard.neurons import ATan, Sigmoid, Surrogate, Triangle, Watch, fused, lif, unroll

BACKENDS = pytest.mark.parametrize("backend", [unroll, fused])
quick = settings(deadline=None, derandomize=True, max_examples=40)


def run(backend, values: list[float], **options):  # type: ignore[no-untyped-def]
    """Spikes, u and the Jacobian ds[t]/dI[k] of one neuron."""
    setting = {"decay": 1.0, "threshold": 1.0, "reset": "zero", "detach_reset": False, "surrogate": Triangle()} | options
    x = torch.tensor(values, dtype=torch.float64).reshape(-1, 1, 1).requires_grad_()
    spikes, seen = backend(x, steps=len(values), watch=Watch(potential=True), **setting)
    rows = [torch.autograd.grad(s.sum(), x, retain_graph=True)[0].flatten() for s in spikes]
    return spikes.flatten().tolist(), (seen.potential + setting["threshold"]).flatten(), torch.stack(rows)


def close(found: Tensor, wanted: list[list[float]]) -> None:
    assert torch.allclose(found, torch.tensor(wanted, dtype=torch.float64), rtol=0, atol=1e-12)


@BACKENDS
def test_golden_values(backend) -> None:  # type: ignore[no-untyped-def]
    spikes, u, jacobian = run(backend, [0.6, 0.6, 0.6])
    assert spikes == [0, 1, 0]
    close(u, [0.6, 1.2, 0.6])
    close(jacobian, [[0.6, 0, 0], [0.512, 0.8, 0], [-0.36864, -0.576, 0.6]])


@BACKENDS
def test_golden_values_with_a_detached_reset(backend) -> None:  # type: ignore[no-untyped-def]
    spikes, u, jacobian = run(backend, [0.6, 0.6, 0.6], detach_reset=True)
    assert spikes == [0, 1, 0]
    close(u, [0.6, 1.2, 0.6])
    close(jacobian, [[0.6, 0, 0], [0.8, 0.8, 0], [0, 0, 0.6]])


@BACKENDS
def test_subtraction_by_hand(backend) -> None:  # type: ignore[no-untyped-def]
    # u = .6, 1.2 (fires, leaves .2), .8, 1.4 (fires). Not detached: dv/du = 1 - h, with h = .6, .8, .8, .6.
    spikes, u, jacobian = run(backend, [0.6] * 4, reset="subtract")
    assert spikes == [0, 1, 0, 1]
    close(u, [0.6, 1.2, 0.8, 1.4])
    close(jacobian[2], [0.8 * 0.2 * 0.4, 0.8 * 0.2, 0.8, 0])
    _, _, detached = run(backend, [0.6] * 4, reset="subtract", detach_reset=True)
    close(detached, [[0.6, 0, 0, 0], [0.8, 0.8, 0, 0], [0.8, 0.8, 0.8, 0], [0.6, 0.6, 0.6, 0.6]])


@BACKENDS
def test_subtraction_takes_the_threshold_off(backend) -> None:  # type: ignore[no-untyped-def]
    spikes, u, _ = run(backend, [3.5, 0.0, 0.0, 0.0], reset="subtract", threshold=1.5)
    assert spikes == [1, 1, 0, 0]
    close(u, [3.5, 2.0, 0.5, 0.5])


@BACKENDS
def test_decay_by_hand(backend) -> None:  # type: ignore[no-untyped-def]
    spikes, u, jacobian = run(backend, [0.8, 0.0, 0.75, 0.5], decay=0.5, detach_reset=True)
    assert spikes == [0, 0, 0, 0]
    close(u, [0.8, 0.4, 0.95, 0.975])
    close(jacobian[3], [0.975 / 8, 0.975 / 4, 0.975 / 2, 0.975])
    spikes, u, _ = run(backend, [0.8, 0.8, 0.8], decay=0.5)
    assert spikes == [0, 1, 0]
    close(u, [0.8, 1.2, 0.8])


@BACKENDS
def test_no_memory_without_decay(backend) -> None:  # type: ignore[no-untyped-def]
    spikes, u, jacobian = run(backend, [0.6, 1.2, 0.9], decay=0.0)
    assert spikes == [0, 1, 0]
    close(u, [0.6, 1.2, 0.9])
    close(jacobian, [[0.6, 0, 0], [0, 0.8, 0], [0, 0, 0.9]])


@BACKENDS
@pytest.mark.parametrize("threshold", [1.0, 0.5, 0.1])
def test_the_threshold_itself_fires(backend, threshold: float) -> None:  # type: ignore[no-untyped-def]
    below = float(torch.nextafter(torch.tensor(threshold, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)))
    spikes, _, _ = run(backend, [threshold, threshold, below], threshold=threshold, decay=0.0)
    assert spikes == [1, 1, 0]


def forward_accumulation(values: list[float], decay: float, threshold: float, reset: str, detach: bool, h) -> list[list[float]]:  # type: ignore[no-untyped-def]
    """ds[t]/dI[k] carried forward in plain floats: the other direction than backpropagation."""
    steps, v = len(values), 0.0
    dv, rows = [0.0] * steps, []
    for t, value in enumerate(values):
        u = decay * v + value
        du = [decay * d + (k == t) for k, d in enumerate(dv)]
        s = float(u >= threshold)
        ds = [h(u - threshold) * d for d in du]
        passing = [0.0] * steps if detach else ds
        if reset == "zero":
            v, dv = u * (1 - s), [(1 - s) * d - u * p for d, p in zip(du, passing, strict=True)]
        else:
            v, dv = u - threshold * s, [d - threshold * p for d, p in zip(du, passing, strict=True)]
        rows.append(ds)
    return rows


@BACKENDS
@quick
@given(
    values=st.lists(st.floats(-0.5, 2.0), min_size=1, max_size=6),
    decay=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    threshold=st.sampled_from([0.5, 1.0, 1.3]),
    reset=st.sampled_from(["zero", "subtract"]),
    detach=st.booleans(),
    surrogate=st.sampled_from([Triangle(gamma=0.8), Sigmoid(), ATan()]),
)
def test_jacobian(backend, values, decay, threshold, reset, detach, surrogate: Surrogate) -> None:  # type: ignore[no-untyped-def]
    options = {"decay": decay, "threshold": threshold, "reset": reset, "detach_reset": detach, "surrogate": surrogate}
    _, _, jacobian = run(backend, values, **options)
    wanted = forward_accumulation(
        values, decay, threshold, reset, detach, lambda z: float(surrogate.derivative(torch.tensor([z], dtype=torch.float64)))
    )
    assert torch.allclose(jacobian, torch.tensor(wanted, dtype=torch.float64), rtol=1e-10, atol=1e-10)


def test_the_functional_form() -> None:
    x = torch.full((3, 1, 1), 0.6, dtype=torch.float64)
    assert lif(x).flatten().tolist() == [0, 1, 0]
    assert lif(x, decay=0.5, threshold=0.8, reset="subtract").flatten().tolist() == [0, 1, 0]  # u = .6, .9, .65
    assert lif(x, threshold=0.6).flatten().tolist() == [1, 1, 1]
    x.requires_grad_()
    lif(x, detach_reset=True, surrogate=Triangle(gamma=2.0))[1].sum().backward()
    assert x.grad is not None
    close(x.grad.flatten(), [(2 - 0.2) / 4] * 2 + [0])  # type: ignore[list-item]


def test_one_current_for_all_steps_is_the_repeated_current() -> None:
    x = torch.rand(1, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for backend in (unroll, fused):
        setting = {"decay": 0.9, "threshold": 1.0, "reset": "zero", "detach_reset": False, "surrogate": Triangle()}
        once, full = x.clone().requires_grad_(), x.repeat(5, 1, 1).requires_grad_()
        a, _ = backend(once, steps=5, **setting)
        b, _ = backend(full, steps=5, **setting)
        assert torch.equal(a, b)
        (a * torch.arange(5.0)[:, None, None]).sum().backward()
        (b * torch.arange(5.0)[:, None, None]).sum().backward()
        assert torch.allclose(once.grad, full.grad.sum(0, keepdim=True), atol=1e-12)
