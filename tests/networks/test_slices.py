"""One slice for rules without time: the same logits to the bit, the same gradients, and only where that is true."""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from snnguard import encoders, networks, rng
from snnguard.networks.slices import has_one_slice
from snnguard.neurons import (
    BPTT,
    HART,
    LIF,
    FiredMask,
    GradientRule,
    LearnedLeak,
    MembraneNoise,
    RateGradient,
    StepGain,
    StraightThrough,
    Watch,
    neurons_of,
    use_rule,
)  # fmt: skip


def firing(name: str, **settings: object) -> nn.Module:
    """In float64, with the statistics of random images, so that every layer fires; frozen, as under attack."""
    model = networks.build(name, image_shape=(3, 16, 16), steps=3, seed=0, **settings).double()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad(), rng.scope(0):
        model.train()(images(8))
    return model.eval().requires_grad_(False)


def images(count: int) -> Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def ascent(model: nn.Module, rule: GradientRule, *, slices: bool, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor]:
    x = images(4).requires_grad_()
    with monkeypatch.context() as patch, use_rule(model, rule), rng.scope(3):
        if not slices:
            patch.setattr("snnguard.networks.classifier.has_one_slice", lambda _: False)
        logits = model(x)
        return logits.detach(), torch.autograd.grad(logits.square().sum(), x)[0]


@pytest.mark.parametrize("rule", [RateGradient(), FiredMask(), StraightThrough()], ids=lambda rule: rule.kind)
@pytest.mark.parametrize("name", ["vgg5-slim", "wrn16", "resnet19"])
def test_gradients_are_those_of_all_slices(rule: GradientRule, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = firing(name, neuron=LIF(decay=0.9, threshold=0.7))
    one, all_ = (ascent(model, rule, slices=slices, monkeypatch=monkeypatch) for slices in (True, False))
    assert torch.equal(one[0], all_[0])
    assert torch.allclose(one[1], all_[1], rtol=1e-9, atol=1e-12 * float(all_[1].abs().max()))
    assert one[1].any()


@pytest.mark.parametrize(
    "settings",
    [{"encoder": encoders.Encoder.parse("poisson")}, {"neuron": LIF(traits=(MembraneNoise(sigma=0.3, inference=True),))}],
    ids=["frames that differ", "noise"],
)
def test_frames_and_noise_may_differ_from_step_to_step(settings: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    model = firing("vgg5-slim", **settings)
    one, all_ = (ascent(model, FiredMask(), slices=slices, monkeypatch=monkeypatch) for slices in (True, False))
    assert torch.equal(one[0], all_[0])
    assert torch.allclose(one[1], all_[1], rtol=1e-9, atol=1e-12)
    assert one[1].any()


def test_it_is_used_only_where_it_is_true() -> None:
    model = firing("vgg5-slim")
    with use_rule(model, RateGradient()):
        assert has_one_slice(model.body)
        with torch.no_grad():
            assert not has_one_slice(model.body)
        for module in (model.body, next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))):
            module.training = True
            assert not has_one_slice(model.body)
            module.training = False
        parameter = next(model.parameters()).requires_grad_()
        assert not has_one_slice(model.body)
        parameter.requires_grad_(False)
        neuron = next(iter(neurons_of(model).values()))
        neuron.watch = Watch(moments=True)
        assert not has_one_slice(model.body)
        neuron.watch = None
        neuron.rule = BPTT()
        assert not has_one_slice(model.body)
    for layer in (nn.MaxPool2d(2), nn.ReLU(), nn.InstanceNorm2d(3), nn.BatchNorm2d(3, track_running_stats=False)):
        other = firing("vgg5-slim")
        other.body.append(layer.eval().requires_grad_(False))
        with use_rule(other, RateGradient()):
            assert not has_one_slice(other.body)
    for rule in (BPTT(), HART(), None):
        with use_rule(model, rule) if rule else nullcontext():
            assert not has_one_slice(model.body)
    for trait in (LearnedLeak(), StepGain()):
        other = networks.build("vgg5-slim", image_shape=(3, 16, 16), neuron=LIF(traits=(trait,))).eval().requires_grad_(False)
        with use_rule(other, RateGradient()):
            assert not has_one_slice(other.body)


def test_the_neurons_are_as_before_even_after_an_error() -> None:
    model = firing("vgg5-slim")
    model.body.append(_Fails())
    with use_rule(model, RateGradient()), pytest.raises(RuntimeError, match="on purpose"):
        model(images(1).requires_grad_())
    assert all(neuron.slopes is None and neuron.factors is None for neuron in neurons_of(model).values())


class _Fails(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            raise RuntimeError("on purpose")
        return x
