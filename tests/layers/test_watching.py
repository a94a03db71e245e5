"""Watching membranes: right values, and nothing left behind."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from snnguard.layers import OverTime, watching
from snnguard.neurons import LIF, Watch, neurons_of

EVERYTHING = Watch(moments=True, bands=(0.1, 0.5), potential=True)


@pytest.fixture
def model() -> Iterator[nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield nn.Sequential(
            OverTime(nn.Conv2d(1, 3, 3)), LIF(decay=0.9, threshold=0.6).build(steps=4),
            OverTime(nn.Flatten(), nn.Linear(12, 5)), LIF(decay=0.9).build(steps=4),
        )  # fmt: skip


@pytest.fixture
def x() -> Tensor:
    return torch.rand(4, 6, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 2


def attributes(model: nn.Module) -> list[tuple[object, int, list[object]]]:
    return [(neuron.watch, id(neuron.seen), list(neuron.seen)) for neuron in neurons_of(model).values()]


def test_values_are_those_computed_from_the_potential(model: nn.Module, x: Tensor) -> None:
    with watching(model, EVERYTHING) as seen:
        model(x)
    assert list(seen) == ["1", "3"]
    for name, (membrane,) in seen.items():
        ubar = membrane.potential
        assert ubar is not None
        over = (1, *range(3, ubar.ndim))
        var, mean = torch.var_mean(ubar.double(), dim=over, correction=0)
        assert torch.allclose(membrane.mean.double(), mean, atol=1e-6), name  # type: ignore[union-attr]
        assert torch.allclose(membrane.var.double(), var, atol=1e-6), name  # type: ignore[union-attr]
        for band in (0.1, 0.5):
            assert torch.allclose(membrane.band(band), (band - ubar.abs()).relu().mean(), atol=1e-6)
        assert torch.equal(membrane.spikes, (ubar >= 0).float())


def test_the_potential_of_the_first_layer_by_hand(model: nn.Module, x: Tensor) -> None:
    with watching(model, Watch(potential=True)) as seen:
        model(x)
    v, potential = torch.zeros(6, 3, 2, 2), []
    for t in range(4):
        u = 0.9 * v + model[0][0](x[t])
        potential.append(u - 0.6)
        v = u * (u < 0.6)
    assert torch.allclose(seen["1"][0].potential, torch.stack(potential), atol=1e-5)  # type: ignore[arg-type]


def test_nothing_remains(model: nn.Module, x: Tensor) -> None:
    before, plain = attributes(model), model(x)
    with watching(model, EVERYTHING) as seen:
        assert torch.equal(model(x), plain)
        model(x)
    assert attributes(model) == before
    model(x)
    assert attributes(model) == before
    assert [len(passes) for passes in seen.values()] == [2, 2]


def test_nothing_remains_after_an_error(model: nn.Module, x: Tensor) -> None:
    before = attributes(model)
    with pytest.raises(RuntimeError), watching(model, EVERYTHING):
        model(x[..., :2])
    assert attributes(model) == before


def test_blocks_nest(model: nn.Module, x: Tensor) -> None:
    with watching(model, Watch(moments=True)) as outer:
        model(x)
        with watching(model, Watch(potential=True)) as inner:
            model(x)
        model(x)
    assert [len(outer["1"]), len(inner["1"])] == [2, 1]
    assert outer["1"][1].potential is None
    assert inner["1"][0].mean is None


@pytest.mark.parametrize("watch", [None, Watch()])
def test_an_empty_request_sees_nothing(model: nn.Module, x: Tensor, watch: Watch | None) -> None:
    with watching(model, watch) as seen:
        model(x)
    assert seen == {}


def test_gradients_reach_the_weights(model: nn.Module, x: Tensor) -> None:
    with watching(model, Watch(moments=True)) as seen:
        model(x)
    (gradient,) = torch.autograd.grad(seen["1"][0].mean.sum(), model[0][0].bias)  # type: ignore[union-attr]
    assert gradient.abs().min() > 0
