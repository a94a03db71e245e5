"""A normalisation done by the neuron's kernel: the numbers of PyTorch's batch normalisation and the reference loop."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from snnguard import networks, rng
from snnguard.compiled import find_compiler
from snnguard.layers import TDBN, Body, OverTime, fire, firing, watching
from snnguard.neurons import (
    ASSG,
    HART,
    LIF,
    PDSG,
    FiredMask,
    GradientRule,
    MembraneNoise,
    Neuron,
    RateGradient,
    Watch,
    unroll,
    use_rule,
)

compiled = pytest.mark.skipif(find_compiler() is None, reason="without a compiler there is nothing to join")
RULES: list[GradientRule] = [RateGradient(), FiredMask(), HART(), PDSG(), ASSG()]


def random(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def norm(channels: int, *, scale: float = 1.0, seed: int = 0) -> TDBN:
    """With weights, and with statistics that are not those of any batch here."""
    made = TDBN(channels, alpha=scale).double()
    with torch.no_grad():
        made.weight.copy_(random(seed, channels).abs() + 0.5)
        made.bias.copy_(random(seed + 1, channels) * 0.3)
        assert made.running_mean is not None
        assert made.running_var is not None
        made.running_mean.copy_(random(seed + 2, channels) * 0.3)
        made.running_var.copy_(random(seed + 3, channels).abs() + 0.3)
    return made


def plainly(normal: TDBN, neuron: Neuron, x: Tensor, watch: Watch) -> Any:
    """The formula, and the reference loop."""
    # Not batch_norm itself: in eval mode its gradient of the weight is wrong on a CPU where gradient and input are laid out
    # differently (PyTorch 2.13).
    mean, var = normal.running_mean, normal.running_var
    if normal.training:
        mean, var, count = x.mean((0, 1, 3, 4)), x.var((0, 1, 3, 4), correction=0), x.numel() // x.shape[2]
        with torch.no_grad():
            normal.running_mean = 0.9 * normal.running_mean + 0.1 * mean
            normal.running_var = 0.9 * normal.running_var + 0.1 * var * count / (count - 1)
    shape = (1, 1, -1, 1, 1)
    normalised = (x - mean.reshape(shape)) / (var.reshape(shape) + normal.eps).sqrt() * normal.scale
    current = normalised * normal.weight.reshape(shape) + normal.bias.reshape(shape)
    dynamics = neuron.settings
    return unroll(
        current, steps=neuron.steps, surrogate=dynamics.surrogate, watch=watch, **dynamics.constants()
    )  # fmt: skip


def gradients(spikes: Tensor, seen: Any, asked: list[Tensor]) -> list[Tensor]:
    loss = (spikes * random(9, *spikes.shape)).sum()
    if seen is not None:
        parts = [part for part in (seen.mean, seen.var, seen.hinge, seen.potential) if part is not None]
        loss = loss + sum((part * random(8, *part.shape)).sum() for part in parts)
    return list(torch.autograd.grad(loss, asked))


@compiled
@settings(deadline=None, derandomize=True, max_examples=80)
@given(
    seed=st.integers(0, 2**20),
    shape=st.sampled_from([(2, 3, 4, 5), (3, 2, 1, 1), (2, 33, 3, 5), (1, 2, 37, 41), (2, 1100, 2, 1), (4, 1, 2, 2)]),
    steps=st.integers(1, 6),
    static=st.booleans(),
    last=st.booleans(),
    training=st.booleans(),
    scale=st.sampled_from([1.0, 0.5]),
    decay=st.sampled_from([0.3, 1.0]),
    reset=st.sampled_from(["zero", "subtract"]),
    watch=st.sampled_from([Watch(), Watch(moments=True, bands=(0.2,)), Watch(potential=True)]),
)
def test_equals_batch_normalisation_and_the_reference_loop(
    seed, shape, steps, static, last, training, scale, decay, reset, watch
) -> None:  # type: ignore[no-untyped-def]
    ours, theirs = norm(shape[1], scale=scale).train(training), norm(shape[1], scale=scale).train(training)
    neuron = Neuron(LIF(decay=decay, reset=reset), steps=steps)
    x = random(seed, 1 if static else steps, *shape) * 2 + 0.5
    if last:
        x = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (len(x), -1))
    one, other = (x.clone(memory_format=torch.preserve_format).requires_grad_() for _ in range(2))
    neuron.watch = watch
    assert neuron.normalises(one)
    spikes = fire(OverTime(ours), neuron, one)
    seen = neuron.seen[-1] if watch else None
    expected, also_seen = plainly(theirs, neuron, other, watch)
    assert torch.equal(spikes, expected)
    found = gradients(spikes, seen, [one, ours.weight, ours.bias])
    wanted = gradients(expected, also_seen, [other, theirs.weight, theirs.bias])
    for a, b in zip(found, wanted, strict=True):
        assert torch.allclose(a, b, rtol=1e-8, atol=1e-8 * float(b.abs().max() + 1))
    for name in ("running_mean", "running_var"):
        assert torch.allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-10, atol=1e-12)
    assert ours.num_batches_tracked == training


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["vgg5-slim", "wrn16", "resnet19"])
def test_in_eval_mode_no_rule_moves_a_bit(name: str, dtype: torch.dtype) -> None:
    model = networks.build(name, image_shape=(3, 16, 16), steps=3, seed=0)
    for layer in model.modules():
        if isinstance(layer, TDBN):  # so that all layers fire
            nn.init.normal_(layer.bias, 0.3, 0.3, generator=torch.Generator().manual_seed(layer.num_features))
            nn.init.constant_(layer.running_var, 0.3)
    model.to(dtype=dtype, memory_format=torch.channels_last).eval()
    x = random(1, 2, 3, 16, 16, dtype=torch.float32).abs().to(dtype)
    logits = model(x)
    assert logits.abs().sum() > 0
    for rule in RULES:
        with use_rule(model, rule):
            assert torch.equal(model(x), logits), rule
    with watching(model, Watch(moments=True, current=True)):
        assert torch.equal(model(x), logits)


@compiled
@pytest.mark.parametrize("neuron", [LIF(), LIF(traits=(MembraneNoise(sigma=0.3),))], ids=["lif", "noisy"])
def test_a_network_learns_the_same_with_and_without(neuron: LIF, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for joined in (True, False):
        if not joined:
            monkeypatch.setattr(firing, "may_join", lambda *_: False)
        model = networks.build("vgg5-slim", image_shape=(3, 16, 16), steps=3, seed=0, neuron=neuron).double().train()
        with rng.scope(3):
            loss = nn.functional.cross_entropy(model(random(1, 6, 3, 16, 16).abs()), torch.arange(6))
        loss.backward()
        found.append([p.grad for p in model.parameters()] + [b.double() for b in model.buffers()])
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-10)


@compiled
def test_the_graph_keeps_what_the_convolution_gave_and_not_its_normalised_form(monkeypatch: pytest.MonkeyPatch) -> None:
    x = random(0, 4, 2, 8, 16, 16).requires_grad_()

    def kept() -> int:
        saved: dict[int, int] = {}
        with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.update({t.data_ptr(): t.nbytes}) or t, lambda t: t):
            fire(OverTime(TDBN(8).double()), Neuron(LIF(), steps=4), x)
        return sum(saved.values())

    assert kept() < 1.1 * x.nbytes
    monkeypatch.setattr(firing, "may_join", lambda *_: False)
    assert kept() > 1.9 * x.nbytes


def test_whoever_hooks_a_layer_sees_what_goes_through_it() -> None:
    currents, neuron = OverTime(nn.Conv2d(3, 4, 3), norm(4)), Neuron(LIF(), steps=2)
    currents.double()
    x, seen = random(0, 2, 2, 3, 6, 6), dict[str, Tensor]()
    expected = neuron(currents(x))
    for name, module in (("norm", currents[1]), ("neuron", neuron)):
        handle = module.register_forward_hook(lambda _, given, out, name=name: seen.update({name: given[0], name + "!": out}))
        assert torch.equal(fire(currents, neuron, x), expected)
        handle.remove()
    assert torch.equal(seen["neuron"].flatten(0, 1), currents(x).flatten(0, 1))
    assert not torch.equal(seen["norm"], seen["norm!"])


def test_a_batch_of_one_value_has_no_variance_and_is_refused_as_by_pytorch() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        fire(OverTime(norm(3)), Neuron(LIF(), steps=2), random(0, 1, 1, 3, 1, 1))


def test_a_body_joins_normalisations_with_the_neurons_behind_them() -> None:
    first, fires, pool, second = OverTime(TDBN(2)), Neuron(LIF(), steps=1), OverTime(nn.AvgPool2d(2)), OverTime(TDBN(2))
    layers = [first, fires, pool, second, nn.ReLU(), fires, second, fires]
    assert firing.parts(Body(*layers)) == [(first, fires), (pool,), (second,), (layers[4],), (fires,), (second, fires)]
    assert firing.parts(nn.Sequential(*layers)) == [(layer,) for layer in layers]
    assert list(Body(*layers).state_dict()) == list(nn.Sequential(*layers).state_dict())


class Twice(TDBN):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


def test_what_is_not_quite_a_normalisation_goes_its_own_way() -> None:
    neuron, x = Neuron(LIF(), steps=2), random(0, 2, 3, 4, 5, 5) + 0.5
    plain = nn.BatchNorm2d(4, affine=False).double()
    bare = TDBN(4).double().eval()
    bare.affine, bare.weight, bare.bias = False, None, None  # type: ignore[assignment]
    assert torch.equal(fire(OverTime(Twice(4).double()), neuron, x), neuron(OverTime(Twice(4).double())(x)))
    assert torch.equal(fire(OverTime(plain), neuron, x), neuron(OverTime(plain)(x)))
    assert torch.equal(fire(OverTime(bare), neuron, x), neuron(OverTime(bare)(x)))
    assert torch.equal(Body(OverTime(), neuron)(x), neuron(x))


@pytest.mark.parametrize("training", [True, False])
def test_another_number_of_channels_is_refused_before_anything_changes(training: bool) -> None:
    normal, x = norm(2).train(training), random(0, 1, 3, 64, 2, 2)
    before = {name: value.clone() for name, value in normal.state_dict().items()}
    with pytest.raises(RuntimeError, match="64"):
        fire(OverTime(normal), Neuron(LIF(), steps=1), x)
    assert all(torch.equal(before[name], value) for name, value in normal.state_dict().items() if "num" not in name)
    with pytest.raises(AssertionError):
        Neuron(LIF(), steps=1)(x, norm=norm(2).eval().on_the_way(random(0, 1, 3, 2, 2, 2)))


def test_running_statistics_move_without_breaking_the_graphs_of_passes_before() -> None:
    model = networks.build("vgg5-slim", image_shape=(3, 16, 16), steps=2, seed=0)
    x = random(0, 4, 3, 16, 16, dtype=torch.float32).abs()
    with use_rule(model.eval(), FiredMask()):
        first = model(x).sum()
    (first + model.train()(x).sum()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
