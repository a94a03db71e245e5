"""Jacobians of linear models are their matrices; the map of a fixed firing pattern, by hand."""

import itertools

import numpy as np
import pytest
import torch

from snnguard import rng
from snnguard.analysis import FixedPattern, jacobian, jacobian_norms, operator_norm
from snnguard.encoders import Poisson
from snnguard.neurons import BPTT, LIF, SampledFiring, plif, use_rule
from snnguard.threat import L2, Linf


def matrix(k: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(k, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_jacobian_of_a_linear_model_is_its_matrix(linear):
    weight = matrix(3, 8)
    x = torch.rand(5, 2, 2, 2, dtype=torch.float64)
    assert torch.allclose(jacobian(linear(weight), x), weight.expand(5, -1, -1))
    assert torch.allclose(jacobian(linear(weight), x, draws=3), weight.expand(5, -1, -1))
    found = jacobian_norms(linear(weight), x, threat=L2(eps=1), batch_size=2)
    assert found.frobenius == pytest.approx([np.linalg.norm(weight)] * 5)
    assert found.spectral == pytest.approx([np.linalg.norm(weight, 2)] * 5)
    assert found.operator == pytest.approx(found.spectral, rel=1e-6)
    assert (found.rule, found.norm) == ("bptt", "l2")


def test_a_model_that_cuts_the_graph_has_no_derivative(threshold):
    class Rounded(torch.nn.Module):
        def forward(self, x):
            return threshold(x.detach().round())

    assert not jacobian(Rounded(), torch.rand(3, 1, 2, 2)).any()


def test_power_iteration_finds_the_largest_singular_value():
    matrices = torch.stack([matrix(4, 9, seed) for seed in range(20)])
    exact = torch.linalg.svdvals(matrices)[:, 0]
    found = operator_norm(matrices, L2(eps=1), steps=400)
    assert (found <= exact * (1 + 1e-9)).all()
    assert torch.allclose(found, exact, rtol=1e-3)
    assert operator_norm(torch.zeros(2, 3, 4), L2(eps=1)).tolist() == [0.0, 0.0]


def test_under_linf_it_lies_between_the_rows_and_the_best_corner():
    matrices = torch.stack([matrix(3, 7, seed) for seed in range(20)])
    corners = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=7)), dtype=torch.float64)
    best = torch.linalg.vector_norm(corners @ matrices.mT, dim=2).amax(1)
    found = operator_norm(matrices, Linf(eps=1))
    assert (found <= best + 1e-9).all()
    assert (found >= matrices.abs().sum(2).amax(1) - 1e-9).all()
    assert (found > best * 0.999).float().mean() > 0.7


@pytest.mark.parametrize(
    ("reset", "decay", "expected"),
    [
        # 0.6 in each of 4 steps against a threshold of 1: u = .6, 1.2 (spike), then again, as the reset forgets.
        ("zero", 1.0, (2 + 2) / 4),
        # u = .6, 1.2 (spike, .2 left), .8, 1.4 (spike): what was put in is never forgotten.
        ("subtract", 1.0, (2 + 4) / 4),
        # u = .6, .9, 1.05 (spike), .6
        ("zero", 0.5, (1 + 0.5 + 0.25) / 4),
    ],
)
def test_the_map_of_a_fixed_pattern_by_hand(driven, reset, decay, expected):
    model = driven(LIF(reset=reset, decay=decay), 4)
    x = torch.tensor([[[0.6]], [[0.01]]])
    found = jacobian(model, x, rule=FixedPattern())
    assert found.flatten().tolist() == pytest.approx([expected, 0.0])


def test_the_fixed_pattern_takes_the_matrices_around_it(network, images):
    """One layer whose neurons all fire once: the map is the product of the readout and what feeds them."""
    model = network(steps=1, neuron=LIF(threshold=1e-3))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.fill_(0.01)
            module.bias.data.fill_(1.0)
        if isinstance(module, torch.nn.Linear):
            module.bias.data.fill_(100.0)
    model = model.double()

    def rectified(x: torch.Tensor) -> torch.Tensor:
        for module in model.body:
            if not hasattr(module, "settings"):  # all neurons fire, so that each passes its input on as it is
                x = module(x)
        return x[0]

    x = images(1).double()
    expected = torch.autograd.functional.jacobian(lambda v: rectified(v.reshape(1, 1, 1, 8, 8))[0], x.flatten())
    assert torch.allclose(jacobian(model, x, rule=FixedPattern())[0], expected)


@pytest.mark.parametrize("neuron", [LIF(), LIF(decay=0.9, traits=(SampledFiring(),)), plif()], ids=["lif", "sampled", "plif"])
def test_the_fixed_pattern_does_not_move_a_bit(network, images, neuron):
    model = network(neuron=neuron)
    with rng.scope(0):
        logits = model(images(3))
    with rng.scope(0), use_rule(model, FixedPattern()):
        assert torch.equal(model(images(3)), logits)


def test_draws_are_averaged_and_repeat(network, images):
    model = network(encoder=Poisson())
    state = torch.get_rng_state()
    one = jacobian(model, images(2), rule=BPTT(), draws=1, seed=5)
    four = jacobian(model, images(2), rule=BPTT(), draws=4, seed=5)
    assert torch.equal(one, jacobian(model, images(2), rule=BPTT(), draws=1, seed=5))
    assert not torch.equal(one, four)
    assert torch.equal(state, torch.get_rng_state())
    assert one.shape == (2, 4, 64)
