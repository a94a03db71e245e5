"""TGO with adaptive bands: the band is the layer's own spread, without a gradient; noise and schedule are TGO's."""

import pytest
import torch
from torch import Tensor, nn

from snnguard.attacks import PGD
from snnguard.defenses import TGO, Batch, Defense, Step
from snnguard.defenses.tgo_adaptive import AdaptiveTGO
from snnguard.layers import watching
from snnguard.networks import Network, build, construct
from snnguard.neurons import LIF, MembraneNoise, Watch

DOUBLE = torch.float64
ALONE = {"lambda_max": 1.0, "sigma": 0.0}


def penalty(defense: Defense, model: nn.Module, x: Tensor, progress: float = 1.0) -> Tensor | None:
    with watching(model, defense.watch) as seen:
        logits = model(x)
    step = Step(progress=progress, seed=0, membranes={name: passes[-1] for name, passes in seen.items()})
    return defense.penalty(model, Batch(x=x, y=torch.tensor([0]), clean=x), logits, step)


def layer(steps: int = 1) -> nn.Sequential:
    return nn.Sequential(LIF().build(steps=steps))


def test_the_band_is_the_spread_by_hand() -> None:
    # ubar = -4, -1, 1, 4: variance 34 / 4 = 8.5. Share 0.5 gives delta = 1.457738: hinges 0, 0.457738 twice, 0.
    # Its gradient is that of the hinges alone: the band is a number.
    x = torch.tensor([[[-3.0, 0.0], [2.0, 5.0]]], dtype=DOUBLE, requires_grad=True)
    term = penalty(AdaptiveTGO(**ALONE, share=0.5), layer(), x)
    assert float(term.detach()) == pytest.approx((0.5 * 8.5**0.5 - 1) / 2)
    (gradient,) = torch.autograd.grad(term, x)
    assert gradient.flatten().tolist() == pytest.approx([0, 0.25, -0.25, 0])


def test_the_band_grows_with_the_membranes() -> None:
    ubar = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    model = nn.Sequential(LIF(decay=0.0).build(steps=2))  # so that u is the current
    one, ten = (float(penalty(AdaptiveTGO(**ALONE), model, 1 + scale * ubar)) for scale in (1, 10))
    assert one > 0
    assert ten == pytest.approx(10 * one)


def test_each_layer_has_its_own_band_and_the_terms_are_summed() -> None:
    # With a fixed band equal to a layer's own spread, TGO's constraint on that layer alone is the same number.
    model = build("vgg4-tiny", classes=3, image_shape=(1, 8, 8), steps=2).train()
    x = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    term = float(penalty(AdaptiveTGO(lambda_max=0.6, sigma=0, share=0.7), model, x).detach())
    with torch.no_grad(), watching(model, Watch(potential=True)) as seen:
        model(x)
    bands = {name: 0.7 * float(passes[0].potential.double().var(correction=0)) ** 0.5 for name, passes in seen.items()}
    assert len({round(band, 3) for band in bands.values()}) == 3
    with torch.no_grad(), watching(model, Watch(bands=tuple(bands.values()))) as seen:
        model(x)
    assert term == pytest.approx(0.6 * sum(float(seen[name][0].band(band)) for name, band in bands.items()), rel=1e-5)


def test_lambda_at_its_marks() -> None:
    x = torch.tensor([[[-3.0, 0.0], [2.0, 5.0]]], dtype=DOUBLE)
    full = (0.5 * 8.5**0.5 - 1) / 2
    assert penalty(AdaptiveTGO(lambda_max=0.6), layer(), x, progress=0.0) is None
    found = [float(penalty(AdaptiveTGO(lambda_max=0.6), layer(), x, progress=p)) for p in (0.5, 1.0)]
    assert found == pytest.approx([0.3 * full, 0.6 * full])


def test_the_noise_is_that_of_tgo_and_the_constraint_does_not_see_it() -> None:
    network = Network(name="vgg4-tiny")
    assert AdaptiveTGO(sigma=0.3).design(network) == TGO(sigma=0.3).design(network)
    assert AdaptiveTGO(sigma=0).design(network) is network
    noisy = nn.Sequential(LIF(traits=(MembraneNoise(sigma=0.5),)).build(steps=1)).train()
    x = torch.tensor([[[-3.0, 0.0], [2.0, 5.0]]])
    term = penalty(AdaptiveTGO(**ALONE), noisy, x)
    assert float(term) == pytest.approx((0.5 * 8.5**0.5 - 1) / 2, abs=1e-5)


def test_no_strength_no_defense() -> None:
    off = AdaptiveTGO(lambda_max=0, sigma=0, inference_noise=True)
    assert off.watch == Watch()
    assert penalty(off, layer(), torch.ones(1, 2, 2)) is None
    assert off.adaptive() == ()
    assert AdaptiveTGO(sigma=0).watch == Watch(potential=True)


@pytest.mark.parametrize("inference_noise", [True, False])
def test_attacks_with_draws_are_required_exactly_where_noise_stays_on(inference_noise: bool) -> None:
    defense = AdaptiveTGO(inference_noise=inference_noise)
    design = defense.design(Network(name="vgg4-tiny", steps=2))
    model = construct(design, classes=3, image_shape=(1, 8, 8), mean=[0.0], std=[1.0])
    assert model.stochastic == inference_noise
    assert len(defense.adaptive()) == int(inference_noise)
    assert all(isinstance(attack, PGD) and attack.gradient.draws > 1 for attack in defense.adaptive())


@pytest.mark.parametrize("value", [0.0, 1.0, -50.0, 50.0, 1e10])
def test_value_and_gradient_are_finite_whatever_the_input(value: float) -> None:
    x = torch.full((2, 4, 3, 2, 2), value, requires_grad=True)
    term = penalty(AdaptiveTGO(), layer(steps=2), x)
    assert torch.isfinite(term)
    assert torch.isfinite(torch.autograd.grad(term, x)[0]).all()
    one = torch.zeros(1, 1, 1, requires_grad=True)
    assert float(penalty(AdaptiveTGO(), layer(), one).detach()) == 0  # a spread of nothing is a band of nothing
