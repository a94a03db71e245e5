"""LIF against SpikingJelly: spikes and input gradients.

The mapping (METHODS 1.1): IFNode is decay 1; LIFNode(tau, decay_input=False) is decay 1 - 1/tau; v_reset=0 is a reset to
zero and v_reset=None one by subtraction; the triangle of half width gamma is PiecewiseQuadratic(alpha=1/gamma).
"""

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from snnguard.neurons import ATan, Sigmoid, Surrogate, Triangle, lif

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the peer's own, at import
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    from spikingjelly.activation_based import surrogate as theirs

pytestmark = pytest.mark.filterwarnings("ignore")

Gap = Callable[[str, Tensor, Tensor], float]
SURROGATES: list[tuple[Surrogate, Callable[[], object]]] = [
    (ATan(alpha=2.0), lambda: theirs.ATan(alpha=2.0)),
    (Sigmoid(alpha=4.0), lambda: theirs.Sigmoid(alpha=4.0)),
    (Triangle(gamma=1.0), lambda: theirs.PiecewiseQuadratic(alpha=1.0)),
    (Triangle(gamma=0.5), lambda: theirs.PiecewiseQuadratic(alpha=2.0)),
]


@pytest.mark.parametrize("surrogates", SURROGATES, ids=lambda s: str(s[0]))
@pytest.mark.parametrize("detach", [False, True], ids=["reset-gradient", "detached"])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("tau", [None, 1.25, 2.0, 4.0], ids=lambda tau: "if" if tau is None else f"tau-{tau}")
@pytest.mark.parametrize("steps", [4, 6, 8])
def test_spikes_and_gradients_agree(
    steps: int, tau: float | None, reset: str, detach: bool, surrogates: tuple[Surrogate, Callable[[], object]], gap: Gap
) -> None:
    generator = torch.Generator().manual_seed(steps)
    current = torch.randn(steps, 16, 12, generator=generator) * 0.7 + 0.4
    weight = torch.randn(steps, 16, 12, generator=generator)
    settings = {"v_threshold": 1.0, "v_reset": 0.0 if reset == "zero" else None, "detach_reset": detach, "step_mode": "m"}
    if tau is None:
        node = neuron.IFNode(surrogate_function=surrogates[1](), **settings)
    else:
        node = neuron.LIFNode(tau=tau, decay_input=False, surrogate_function=surrogates[1](), **settings)

    mine, other = current.clone().requires_grad_(), current.clone().requires_grad_()
    spikes = lif(
        mine, decay=1.0 if tau is None else 1 - 1 / tau, threshold=1.0, reset=reset, detach_reset=detach,
        surrogate=surrogates[0],
    )  # fmt: skip
    spikes_other = node(other)
    assert 0.1 < float(spikes.mean()) < 0.9
    assert torch.equal(spikes, spikes_other)
    (spikes * weight).mean(0).sum().backward()  # a readout is a mean over time
    (spikes_other * weight).mean(0).sum().backward()
    name = f"{node.__class__.__name__}({tau}) {reset} {detach} {surrogates[0]} T={steps}"
    assert gap(name, mine.grad, other.grad) <= 1e-6


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_a_potential_at_the_threshold_fires_in_both(reset: str) -> None:
    current = torch.tensor([0.5, 0.5, 0.25, 0.75]).reshape(4, 1, 1)
    node = neuron.IFNode(v_reset=0.0 if reset == "zero" else None, step_mode="m")
    assert torch.equal(lif(current, reset=reset), node(current))
    assert lif(current, reset=reset).flatten().tolist() == [0, 1, 0, 1]
