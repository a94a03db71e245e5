"""RecDis: each hinge zero and not zero where it must be, the shares of a Gaussian behind them, weights and limits."""

import math

import pytest
import torch
from torch import Tensor, nn

from snnguard.defenses import Batch, Defense, Step
from snnguard.defenses.recdis import RecDis, hinges
from snnguard.errors import InvalidRecipe
from snnguard.layers import watching
from snnguard.networks import Network
from snnguard.neurons import LIF, Membrane, Rectangular, Watch

DOUBLE = torch.float64


def at(mu: float, sigma: float, window: float = 1.0) -> list[float]:
    """Degeneration, saturation, mismatch of one channel with outer 2 and inner 1/2."""
    found = hinges(torch.tensor(mu, dtype=DOUBLE), torch.tensor(sigma, dtype=DOUBLE), window=window, outer=2.0, inner=0.5)
    return [float(term) for term in found]


@pytest.mark.parametrize(
    ("mu", "sigma", "wanted"),
    [
        (0.0, 1.0, [0, 0, 0]),  # across the threshold, beyond the window, its middle half within
        (0.0, 0.5, [0, 0, 0]),  # ends on the window
        (0.0, 2.0, [0, 0, 0]),  # quartiles on the window
        (0.0, 0.25, [0, 0.25, 0]),  # huddled: (1 - 0.5)^2
        (0.0, 4.0, [0, 0, 1.0]),  # too wide: (2 - 1)^2
        (0.5, 0.1, [0.09, 0.09, 0]),  # all above and all inside: (0.5 - 0.2)^2, (1 - 0.7)^2
        (-3.0, 1.0, [1.0, 0, 6.25]),  # all below and outside: (3 - 2)^2, (3.5 - 1)^2
        (3.0, 1.0, [1.0, 0, 6.25]),
    ],
)
def test_golden_numbers(mu: float, sigma: float, wanted: list[float]) -> None:
    assert at(mu, sigma) == pytest.approx(wanted)


def test_no_degeneration_means_that_both_sides_have_a_share() -> None:
    for mu in (0.3, -0.7, 2.0):
        for sigma in (0.1, 0.5, 1.5):
            smaller = 0.5 * math.erfc(abs(mu) / sigma / math.sqrt(2))
            assert (at(mu, sigma)[0] == 0) == (smaller >= 0.5 * math.erfc(math.sqrt(2)))  # the share beyond 2 sigma


def test_no_mismatch_means_that_half_of_a_gaussian_is_in_the_window() -> None:
    quartile = 0.6744897501960817
    for mu in torch.linspace(-2, 2, 21, dtype=DOUBLE):
        for sigma in torch.linspace(0.05, 3, 21, dtype=DOUBLE):
            (_, _, mismatch) = hinges(mu, sigma, window=1.0, outer=2.0, inner=quartile)
            share = 0.5 * (torch.erf((mu + 1) / sigma / math.sqrt(2)) - torch.erf((mu - 1) / sigma / math.sqrt(2)))
            if mismatch == 0:
                assert share >= 0.5 - 1e-12


def penalty(defense: Defense, model: nn.Module, membranes: dict[str, Membrane]) -> Tensor | None:
    x = torch.zeros(1, 1)
    step = Step(progress=0.5, seed=0, membranes=membranes)
    return defense.penalty(model, Batch(x=x, y=torch.tensor([0]), clean=x), x, step)


def seen(mean: list[list[float]], var: list[list[float]]) -> Membrane:
    return Membrane(mean=torch.tensor(mean, dtype=DOUBLE), var=torch.tensor(var, dtype=DOUBLE))


def test_weights_means_and_layers_by_hand() -> None:
    # First layer, one step, two channels: degeneration 0.09 and 1, saturation 0.09 and 0, mismatch 0 and 6.25.
    # Second layer: mismatch 1 alone, at twice the window because its surrogate's is 2 and so is its spread.
    model = nn.Sequential(LIF().build(steps=1), LIF(surrogate=Rectangular(width=4.0)).build(steps=1))
    membranes = {"0": seen([[0.5, -3.0]], [[0.01, 1.0]]), "1": seen([[0.0]], [[36.0]])}
    weights = {"degeneration": 2.0, "saturation": 3.0, "mismatch": 0.5}
    first = 2 * 1.09 / 2 + 3 * 0.09 / 2 + 0.5 * 6.25 / 2
    second = 0.5 * 1.0  # (0 + 0.5 * 6 - 2)^2
    term = penalty(RecDis(**weights, outer=2, inner=0.5), model, membranes)
    assert float(term) == pytest.approx((first + second) / 2)
    for name, alone in (("degeneration", 1.09 / 4), ("saturation", 0.09 / 4), ("mismatch", (6.25 / 2 + 1) / 2)):
        only = {n: float(n == name) for n in weights}
        assert float(penalty(RecDis(**only, outer=2, inner=0.5), model, membranes)) == pytest.approx(alone)
    given = penalty(RecDis(degeneration=0, saturation=0, mismatch=1, outer=2, inner=0.5, window=3.0), model, membranes)
    assert float(given) == pytest.approx((0.25 / 2 + 0) / 2)


def test_no_weights_no_defense() -> None:
    off, network = RecDis(degeneration=0, saturation=0, mismatch=0), Network(name="vgg4-tiny")
    assert off.watch == Watch()
    assert penalty(off, nn.Sequential(LIF().build(steps=1)), {"0": seen([[-3.0]], [[1.0]])}) is None
    assert off.design(network) is network
    assert off.adaptive() == ()
    assert RecDis(degeneration=0, saturation=0).watch.moments


def test_quartiles_lie_within_the_ends() -> None:
    with pytest.raises(InvalidRecipe, match="inner must be below outer"):
        Defense.parse({"kind": "recdis", "inner": 2.0, "outer": 2.0})


@pytest.mark.parametrize("value", [0.0, 1.0, -50.0, 50.0, 1e10])
def test_value_and_gradient_are_finite_whatever_the_input(value: float) -> None:
    x = torch.full((2, 4, 3, 2, 2), value, requires_grad=True)
    model, defense = nn.Sequential(LIF().build(steps=2)), RecDis()
    with watching(model, defense.watch) as passes:
        model(x)
    term = penalty(defense, model, {name: found[-1] for name, found in passes.items()})
    assert torch.isfinite(term)
    assert torch.isfinite(torch.autograd.grad(term, x)[0]).all()


def test_its_gradient_leads_out_of_each_fault() -> None:
    for start, better in (((0.0, 0.2), "wider"), ((0.0, 5.0), "narrower"), ((-3.0, 1.0), "closer")):
        mu, sigma = (torch.tensor(value, dtype=DOUBLE, requires_grad=True) for value in start)
        by_mu, by_sigma = torch.autograd.grad(sum(hinges(mu, sigma, window=1.0, outer=2.0, inner=0.5)), (mu, sigma))
        if better == "wider":
            assert by_sigma < 0
        elif better == "narrower":
            assert by_sigma > 0
        else:
            assert by_mu < 0
