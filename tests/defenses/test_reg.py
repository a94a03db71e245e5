"""REG: the map of the singular values, its fixed points, and what it must not touch."""

import pytest
import torch
from torch import Tensor, nn

from snnguard.defenses import REG, ConvexResiduals, Step
from snnguard.defenses.reg import onto_simplex, retract
from snnguard.layers import ConvexCombination
from snnguard.networks import Network, build
from snnguard.training import SGD

DOUBLE = torch.float64


def step(seed: int = 0) -> Step:
    return Step(progress=0.5, seed=seed, membranes={})


def matrix(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (6, 6), (1, 4)])
@pytest.mark.parametrize("beta", [0.004, 0.1])
def test_singular_values_move_as_the_closed_form_says(shape: tuple[int, int], beta: float) -> None:
    w = matrix(*shape)
    u, s, v = torch.linalg.svd(w, full_matrices=False)
    expected = u @ torch.diag(s * (1 + beta - beta * s * s)) @ v
    torch.testing.assert_close(retract(w, beta), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(
        torch.linalg.svdvals(retract(w, beta)).sort()[0], (s * (1 + beta - beta * s * s)).abs().sort()[0], atol=1e-6, rtol=0
    )


def test_it_is_a_gradient_step_of_the_orthonormality_penalty() -> None:
    w = matrix(4, 6).requires_grad_()
    penalty = 0.25 * 0.01 * (w @ w.T - torch.eye(4, dtype=DOUBLE)).square().sum()
    (gradient,) = torch.autograd.grad(penalty, w)
    torch.testing.assert_close(retract(w.detach(), 0.01), w.detach() - gradient)


def test_orthonormal_rows_stay_and_all_others_end_there() -> None:
    q = torch.linalg.qr(matrix(8, 5))[0].T
    torch.testing.assert_close(retract(q, 0.004), q, atol=1e-12, rtol=0)
    w = matrix(3, 7) * 0.5
    for _ in range(5000):
        w = retract(w, 0.004)
    torch.testing.assert_close(w @ w.T, torch.eye(3, dtype=DOUBLE), atol=1e-4, rtol=0)


def test_convolutions_are_retracted_as_matrices_and_everything_else_is_left() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 6)).double()
    before = {name: t.clone() for name, t in net.state_dict().items()}
    REG(beta=0.05).constrain(net, step())
    for name, after in net.state_dict().items():
        if name in ("0.weight", "3.weight"):
            torch.testing.assert_close(after, retract(before[name].flatten(1), 0.05).view_as(after))
            assert not torch.equal(after, before[name])
        else:
            assert torch.equal(after, before[name])
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


def test_the_memory_layout_does_not_matter() -> None:
    plain, last = (nn.Conv2d(3, 4, 3).double() for _ in range(2))
    last.load_state_dict(plain.state_dict())
    last.to(memory_format=torch.channels_last)
    for module in (plain, last):
        REG(beta=0.05).constrain(nn.Sequential(module), step())
    assert torch.equal(plain.weight, last.weight)
    assert last.weight.is_contiguous(memory_format=torch.channels_last)


def changed_rows(defense: REG, rows: int, seed: int) -> Tensor:
    layer = nn.Linear(5, rows).double()
    with torch.no_grad():
        layer.weight.copy_(matrix(rows, 5))
    before = layer.weight.detach().clone()
    defense.constrain(nn.Sequential(layer), step(seed))
    return (layer.weight.detach() != before).any(1)


def test_only_a_share_of_the_rows_of_large_linear_layers_and_seeded() -> None:
    first = changed_rows(REG(), 200, seed=1)
    assert int(first.sum()) == 60
    assert torch.equal(first, changed_rows(REG(), 200, seed=1))
    assert not torch.equal(first, changed_rows(REG(), 200, seed=2))
    assert changed_rows(REG(), 199, seed=1).all()
    assert int(changed_rows(REG(subset_from=10, subset_share=0.5), 40, seed=1).sum()) == 20


def test_the_chosen_rows_are_retracted_among_themselves() -> None:
    layer = nn.Linear(5, 300).double()
    w = layer.weight.detach().clone()
    REG(beta=0.1).constrain(nn.Sequential(layer), step())
    chosen = (layer.weight.detach() != w).any(1)
    torch.testing.assert_close(layer.weight.detach()[chosen], retract(w[chosen], 0.1))


def test_the_choice_leaves_the_callers_generator_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    changed_rows(REG(), 1, seed=1)
    torch.manual_seed(0)
    net = nn.Linear(3, 300)
    state = torch.get_rng_state()
    REG().constrain(nn.Sequential(net), step())
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(state, before)


def nearest_by_search(c: Tensor) -> Tensor:
    """The nearest point of the segment c0 + c1 = 1, c >= 0, by trying 100,001 of them."""
    share = torch.linspace(0, 1, 100_001, dtype=DOUBLE)
    points = torch.stack([share, 1 - share], 1)
    return points[(points - c).square().sum(1).argmin()]


@pytest.mark.parametrize("c", [(0.5, 0.5), (0.9, 0.4), (-0.3, 0.2), (2.0, 0.5), (-1.0, 3.0), (0.0, 0.0), (-2.0, -2.5)])
def test_onto_the_simplex_is_the_nearest_point(c: tuple[float, float]) -> None:
    point = onto_simplex(torch.tensor(c, dtype=DOUBLE))
    torch.testing.assert_close(point, nearest_by_search(torch.tensor(c, dtype=DOUBLE)), atol=1e-5, rtol=0)


def test_onto_the_simplex_in_more_dimensions_meets_the_optimality_conditions() -> None:
    for seed in range(20):
        c = 2 * matrix(1, 6, seed)[0]
        p = onto_simplex(c)
        assert (p >= 0).all()
        assert float(p.sum()) == pytest.approx(1)
        shift = (c - p)[p > 0]
        torch.testing.assert_close(shift, shift[:1].expand_as(shift))  # one multiplier where positive
        assert (c[p == 0] <= shift[0] + 1e-12).all()  # and none smaller where zero


def test_convex_coefficients_are_put_back_on_the_simplex() -> None:
    module = ConvexCombination()
    with torch.no_grad():
        module.c.copy_(torch.tensor([0.9, 0.4]))
    REG().constrain(nn.Sequential(module), step())
    torch.testing.assert_close(module.c.detach(), torch.tensor([0.75, 0.25]))


def test_there_is_no_weight_decay_anywhere() -> None:
    model = build("vgg4-tiny", image_shape=(1, 8, 8))
    optimiser = SGD(weight_decay=5e-4).over(model, REG().groups(model))
    decays = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert decays == {id(p): 0.0 for p in model.parameters()}
    assert REG(beta=0).groups(model) == []


def test_convex_residuals_are_designed_in() -> None:
    assert ConvexResiduals().design(Network(name="resnet19")).residual == "convex"
    model = build("resnet19", image_shape=(1, 8, 8), steps=1, residual="convex")
    assert sum(isinstance(m, ConvexCombination) for m in model.modules()) == 8
