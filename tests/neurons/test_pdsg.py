"""PDSG: its spread by hand, its gradient against a written-out backward pass, and that it knows no neighbours."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from snnguard.errors import RequestError
from snnguard.neurons import LIF, PDSG, GradientRule, Mechanism

Make = Callable[..., Any]


class ByHand:
    """The slope of every step from all membranes so far, one sample and channel at a time."""

    def __init__(self, shift: float, threshold: float) -> None:
        self.shift, self.threshold, self.seen = shift, threshold, []

    def slope(self, t: int, ubar: Tensor) -> Tensor:
        self.seen.append(ubar)
        past, sigma = torch.stack(self.seen), torch.empty_like(ubar)
        for sample in range(len(ubar)):
            spatial = ubar.ndim == 4 and ubar[0, 0].numel() > 1
            for group in range(ubar.shape[1]) if spatial else [slice(None)]:
                values = past[:, sample, group].flatten()
                spread = float(values.std()) if len(values) > 1 else 0.0
                sigma[sample, group] = spread or self.threshold
        return torch.distributions.Normal(self.shift * sigma, sigma).log_prob(ubar).exp()


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("shape", [(3, 2, 3, 2), (3, 5), (3, 5, 1, 1), (2, 1)], ids=str)
@pytest.mark.parametrize("inside", [(), (Mechanism(),)], ids=["fused", "loop"])
def test_against_a_written_out_backward_pass(
    steps: int, static: bool, reset: str, shape: tuple[int, ...], inside: Any, written_out: Make, derived: Make, random: Make
) -> None:
    constants = {"decay": 0.7, "threshold": 0.8, "reset": reset}
    current, upstream = random(0, 1 if static else steps, *shape) + 0.4, random(1, steps, *shape)
    spikes, found = derived(PDSG(shift=0.3), current, upstream, dynamics=LIF(**constants), inside=inside)
    x = current.clone().requires_grad_()
    reference = written_out(x, ByHand(0.3, 0.8).slope, steps=steps, **constants)
    assert torch.equal(spikes, reference.detach())
    torch.testing.assert_close(found, torch.autograd.grad(reference, x, upstream)[0], rtol=1e-9, atol=1e-12)


def test_one_step_in_numbers(derived: Make) -> None:
    # Two pixels, u = 1 and 2: mean 1.5, sigma = sqrt(0.5 / 1). z = ubar / sigma - 1/2 with ubar = 0 and 1.
    current = torch.tensor([1.0, 2.0], dtype=torch.float64).reshape(1, 1, 1, 1, 2)
    _, gradient = derived(PDSG(), current, torch.ones_like(current), dynamics=LIF())
    sigma = math.sqrt(0.5)
    wanted = [math.exp(-((ubar / sigma - 0.5) ** 2) / 2) / (sigma * math.sqrt(2 * math.pi)) for ubar in (0, 1)]
    assert gradient.flatten().tolist() == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("level", [0.0, 0.1, 1.0, 3.7, -2.3])
@pytest.mark.parametrize("shape", [(2, 3, 7, 5), (2, 11)], ids=str)
def test_a_constant_membrane_has_the_spread_of_the_threshold(
    dtype: torch.dtype, level: float, shape: tuple[int, ...], derived: Make
) -> None:
    # 0 in a silent layer; for the others the rounding of a mean could look like a spread.
    current = torch.full((1, *shape), level, dtype=dtype)
    _, gradient = derived(PDSG(), current, torch.ones_like(current), dynamics=LIF(threshold=0.5))
    wanted = math.exp(-((((level - 0.5) / 0.5) - 0.5) ** 2) / 2) / (0.5 * math.sqrt(2 * math.pi))
    torch.testing.assert_close(gradient, torch.full_like(gradient, wanted), rtol=1e-4, atol=0)


def test_a_spread_far_from_zero_keeps_its_digits(derived: Make) -> None:
    # Mean of squares minus square of means would have lost them in float32: 3000 +- 0.01.
    current = (3000 + 0.01 * torch.tensor([-1.0, 1.0])).reshape(1, 1, 1, 1, 2)
    sigma = float(current.double().std())
    _, gradient = derived(PDSG(shift=0), current, torch.ones_like(current), dynamics=LIF(threshold=3000))
    z = (current.double() - 3000) / sigma
    torch.testing.assert_close(gradient.double(), (-z * z / 2).exp() / (sigma * math.sqrt(2 * math.pi)), rtol=1e-3, atol=0)


@pytest.mark.parametrize("shape", [(4, 2, 3, 3), (4, 7)], ids=str)
def test_a_sample_does_not_know_its_neighbours(shape: tuple[int, ...], derived: Make, random: Make) -> None:
    current, upstream = random(0, 3, *shape) + 0.4, random(1, 3, *shape)
    current[:, 3] *= 50
    together = derived(PDSG(), current, upstream, dynamics=LIF())[1]
    alone = [derived(PDSG(), current[:, [i]], upstream[:, [i]], dynamics=LIF())[1] for i in range(4)]
    torch.testing.assert_close(torch.cat(alone, 1), together, rtol=1e-12, atol=0)


def test_a_spread_that_is_rounding_is_none(derived: Make) -> None:
    for spread, narrow in ((1e-9, False), (1e-4, True)):
        current = (1 + spread * torch.tensor([-1.0, 1.0], dtype=torch.float64)).reshape(1, 1, 2)
        peak = derived(PDSG(shift=0), current, torch.ones_like(current), dynamics=LIF())[1].max()
        assert (float(peak) > 1000) == narrow


def test_calls_do_not_know_each_other(derived: Make, random: Make) -> None:
    rule, upstream = PDSG(), random(1, 3, 2, 5)
    first = derived(rule, random(0, 3, 2, 5), upstream, dynamics=LIF())[1]
    derived(rule, random(2, 3, 2, 5) * 9, upstream, dynamics=LIF())
    assert torch.equal(derived(rule, random(0, 3, 2, 5), upstream, dynamics=LIF())[1], first)


def test_wrong_settings_are_refused() -> None:
    for wrong in ({"shift": -0.1}, {"sigma": 1}):
        with pytest.raises(RequestError):
            GradientRule.parse({"kind": "pdsg", **wrong})
