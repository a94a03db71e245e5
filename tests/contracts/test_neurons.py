"""What every surrogate, neuron and gradient rule must keep, whoever adds it: run over the registries."""

import json
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

import snnguard as sg
from snnguard import rng
from snnguard.errors import InvalidRecipe
from snnguard.layers import OverTime, watching
from snnguard.neurons import (
    BPTT,
    LIF,
    GradientRule,
    Mechanism,
    Neuron,
    Slot,
    Surrogate,
    Trait,
    Watch,
    lif,
    neurons_of,
    unroll,
    use_rule,
)

SURROGATES = [make() for make in Surrogate.members().values() if make.__module__.startswith("snnguard.")]
NEURONS = [make() for make in LIF.members().values() if make.__module__.startswith("snnguard.")]
RULES = [make() for make in GradientRule.members().values() if make.__module__.startswith("snnguard.")]
TRAITS = [make() for make in Trait.members().values() if make.__module__.startswith("snnguard.")]
BY_KIND = str
GRID = torch.linspace(-3, 3, 6001, dtype=torch.float64) + 1e-4  # no kink of any default lies on it


def current(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) + 0.4


@pytest.mark.parametrize("surrogate", SURROGATES, ids=BY_KIND)
class TestSurrogate:
    def test_derivative_is_that_of_the_primitive(self, surrogate: Surrogate) -> None:
        step = 1e-6
        difference = (surrogate.primitive(GRID + step) - surrogate.primitive(GRID - step)) / (2 * step)
        assert torch.allclose(surrogate.derivative(GRID), difference, rtol=0, atol=1e-4)
        smooth = GRID[(GRID.abs() > 0.01) & ((GRID.abs() - surrogate.window).abs() > 0.01)]
        difference = (surrogate.primitive(smooth + step) - surrogate.primitive(smooth - step)) / (2 * step)
        assert torch.allclose(surrogate.derivative(smooth), difference, rtol=0, atol=1e-8)

    def test_derivative_is_a_bump(self, surrogate: Surrogate) -> None:
        h = surrogate.derivative(GRID)
        assert (h >= 0).all()
        assert torch.allclose(h, surrogate.derivative(-GRID), atol=1e-12)
        right = surrogate.derivative(GRID.abs().sort().values)
        assert (right.diff() <= 1e-12).all()

    def test_window_is_the_support_or_where_a_tenth_is_left(self, surrogate: Surrogate) -> None:
        w = surrogate.window
        peak, inner, edge, outer = surrogate.derivative(
            torch.tensor([0, w * (1 - 1e-9), w, w * (1 + 1e-9)], dtype=torch.float64)
        )
        assert peak > 0
        if outer == 0:
            assert inner > 0
            assert not surrogate.derivative(GRID[GRID.abs() > w]).any()
        else:
            assert float(edge) == pytest.approx(float(peak) / 10, rel=1e-12)

    def test_arguments_are_left_alone(self, surrogate: Surrogate) -> None:
        for dtype in (torch.float32, torch.float64):
            x = GRID.to(dtype)
            before = x.clone()
            assert surrogate.derivative(x).dtype == dtype
            assert surrogate.primitive(x).dtype == dtype
            assert torch.equal(x, before)

    def test_forward_is_exactly_the_heaviside_step(self, surrogate: Surrogate) -> None:
        for dtype in (torch.float32, torch.float64):
            one = torch.tensor(1.0, dtype=dtype)
            around = torch.stack([one, torch.nextafter(one, one * 0), torch.nextafter(one, one * 2), one * 0, -one])
            x = torch.cat([around, current(500, dtype=dtype)]).reshape(1, 1, -1)
            wanted = torch.heaviside(x - 1, one)  # x - 1 is exact close to 1
            assert torch.equal(lif(x, surrogate=surrogate), wanted)
            assert lif(x, surrogate=surrogate)[0, 0, :3].tolist() == [1, 0, 1]

    def test_gradient_of_one_step_is_the_derivative(self, surrogate: Surrogate) -> None:
        x = current(1, 2, 50, dtype=torch.float64).requires_grad_()
        (gradient,) = torch.autograd.grad(lif(x, surrogate=surrogate, threshold=0.7).sum(), x)
        assert torch.allclose(gradient, surrogate.derivative(x.detach() - 0.7), atol=1e-14)


@pytest.mark.parametrize("settings", NEURONS, ids=BY_KIND)
class TestNeuron:
    def test_spikes(self, settings: LIF) -> None:
        for training in (True, False):
            neuron = settings.build(steps=4).train(training)
            spikes = neuron(current(4, 3, 5))
            assert spikes.shape == (4, 3, 5)
            assert set(spikes.unique().tolist()) == {0.0, 1.0}
            assert neuron(current(1, 3, 5)).shape == (4, 3, 5)

    def test_calls_do_not_know_each_other(self, settings: LIF) -> None:
        neuron, x = settings.build(steps=4).eval(), current(4, 3, 5)
        with rng.scope(0):
            first = neuron(x)
        neuron(x * 3)
        with rng.scope(0):
            assert torch.equal(neuron(x), first)
        if not settings.noisy:
            assert torch.equal(neuron(x), first)
            assert torch.equal(neuron(x[:, 1:2]), first[:, 1:2])

    def test_quiet_neurons_equal_the_reference_loop(self, settings: LIF) -> None:
        x = current(4, 3, 5, dtype=torch.float64)
        neuron = settings.build(steps=4).eval()
        if not settings.noisy:
            wanted, _ = unroll(x, steps=4, surrogate=settings.surrogate, **settings.constants())
            assert torch.equal(neuron(x), wanted)

    def test_an_input_gradient_exists_in_both_modes(self, settings: LIF) -> None:
        for training in (True, False):
            neuron, x = settings.build(steps=4).train(training), current(4, 3, 5).requires_grad_()
            (gradient,) = torch.autograd.grad(neuron(x).sum(), x)
            assert gradient.abs().sum() > 0
            assert gradient.isfinite().all()

    def test_only_traits_have_something_to_save(self, settings: LIF) -> None:
        state = settings.build(steps=4).state_dict()
        assert all(name.startswith("mechanisms.") for name in state)
        assert settings.traits or not state
        settings.build(steps=4).load_state_dict(state)

    @pytest.mark.parametrize("rule", RULES, ids=BY_KIND)
    def test_rules_do_not_move_a_bit(self, settings: LIF, rule: GradientRule) -> None:
        for training in (True, False):
            neuron, x = settings.build(steps=4).train(training), current(4, 3, 50)
            with rng.scope(0):
                plain = neuron(x)
            with rng.scope(0), use_rule(neuron, rule):
                assert torch.equal(neuron(x), plain)


def built(trait: Trait, *, training: bool, steps: int = 4, **settings: Any) -> Neuron:
    """A neuron with this trait, for a layer of 5, in a state that is not the one it starts from."""
    neuron = LIF(traits=(trait,), **settings).build(steps=steps)
    neuron(torch.zeros(1, 1, 5))
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for tensor in neuron.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.3 * torch.rand(tensor.shape, generator=generator) - 0.4)  # an open gate would hide its draws
            else:
                tensor.add_(1)
    return neuron.train(training)


@pytest.mark.parametrize("trait", TRAITS, ids=BY_KIND)
class TestTrait:
    def test_it_has_a_slot_a_source_and_a_json_form(self, trait: Trait) -> None:
        assert trait.slot in get_args(Slot)
        assert trait.source
        assert Trait.parse(json.loads(json.dumps(trait.to_json()))) == trait
        neuron = LIF(traits=(trait,))
        assert LIF.parse(json.loads(json.dumps(neuron.to_json()))) == neuron
        assert hash(LIF.parse(neuron.to_json())) == hash(neuron)
        assert isinstance(trait.build(steps=3), Mechanism)
        assert neuron.noisy == trait.noisy

    @pytest.mark.parametrize("training", [True, False])
    def test_spikes(self, trait: Trait, training: bool) -> None:
        for shape in ((4, 3, 5), (1, 3, 5), (4, 2, 3, 6, 6), (1, 2, 3, 6, 6)):
            neuron = LIF(traits=(trait,)).build(steps=4).train(training)
            spikes = neuron(current(*shape))
            assert spikes.shape == (4, *shape[1:])
            assert spikes.any()
            assert (spikes >= 0).all()
            assert (spikes <= 1).all()
            if not training and (trait.slot != "spikes" or trait.noisy):
                assert set(spikes.unique().tolist()) == {0.0, 1.0}

    def test_calls_do_not_know_each_other(self, trait: Trait) -> None:
        neuron, x = built(trait, training=False), current(4, 30, 5)
        state = {name: tensor.clone() for name, tensor in neuron.state_dict().items()}
        with rng.scope(0):
            first = neuron(x)
        neuron(x * 3)
        with rng.scope(0):
            assert torch.equal(neuron(x), first)
        if not trait.noisy:
            assert torch.equal(neuron(x), first)
            assert torch.equal(neuron(x[:, 1:2]), first[:, 1:2])
        neuron.train()(x)
        assert all(torch.equal(tensor, state[name]) for name, tensor in neuron.state_dict().items())

    def test_it_says_whether_it_is_random(self, trait: Trait) -> None:
        neuron, x = built(trait, training=False), current(4, 30, 5)
        with rng.scope(3):
            before = torch.get_rng_state()
            one, other = neuron(x), neuron(x)
            assert torch.equal(torch.get_rng_state(), before) != trait.noisy
            assert torch.equal(one, other) != trait.noisy

    def test_a_constant_current_may_come_once(self, trait: Trait) -> None:
        for training in (True, False):
            neuron, x = built(trait, training=training), current(1, 30, 5)
            with rng.scope(1):
                once = neuron(x)
            with rng.scope(1):
                assert torch.equal(neuron(x.expand(4, -1, -1)), once)

    def test_an_input_gradient_exists_in_both_modes(self, trait: Trait) -> None:
        for training in (True, False):
            neuron, x = built(trait, training=training), current(4, 30, 5).requires_grad_()
            spikes = neuron(x)
            gradients = torch.autograd.grad(spikes.sum(), [x, *neuron.parameters()], allow_unused=True)
            assert gradients[0] is not None
            assert gradients[0].abs().sum() > 0
            assert all(g.isfinite().all() for g in gradients if g is not None)

    def test_what_it_learns_has_a_gradient_in_training(self, trait: Trait) -> None:
        neuron, x = built(trait, training=True), current(4, 30, 5)
        weights = current(4, 30, 5, seed=1)
        for parameter in neuron.parameters():
            (gradient,) = torch.autograd.grad((neuron(x) * weights).sum(), parameter)
            assert gradient.shape == parameter.shape
            assert gradient.abs().sum() > 0

    @pytest.mark.parametrize("size", [-1e6, 0.0, 1.0, 1e6])
    def test_extreme_currents_stay_finite(self, trait: Trait, size: float) -> None:
        for training in (True, False):
            neuron, x = built(trait, training=training, decay=0.9), torch.full((4, 3, 5), size).requires_grad_()
            spikes = neuron(x)
            gradients = torch.autograd.grad(spikes.sum(), [x, *neuron.parameters()], allow_unused=True)
            assert spikes.isfinite().all()
            assert all(g.isfinite().all() for g in gradients if g is not None)

    @pytest.mark.parametrize("rule", [*RULES, BPTT(surrogate=SURROGATES[0])], ids=BY_KIND)
    def test_rules_do_not_move_a_bit(self, trait: Trait, rule: GradientRule) -> None:
        for training in (True, False):
            neuron, x = built(trait, training=training), current(4, 30, 5).requires_grad_()
            with rng.scope(0):
                plain = neuron(x)
            with rng.scope(0), use_rule(neuron, rule):
                other = neuron(x)
            assert torch.equal(other, plain)
            (gradient,) = torch.autograd.grad(other.sum(), x)
            assert gradient.isfinite().all()
            assert gradient.any()

    def test_watching_does_not_move_a_bit(self, trait: Trait) -> None:
        for training in (True, False):
            neuron, x = built(trait, training=training), current(4, 30, 5)
            with rng.scope(0):
                plain = neuron(x)
            watch = Watch(moments=True, bands=(0.5,), potential=True, current=True)
            with rng.scope(0), watching(nn.Sequential(neuron), watch) as seen:
                assert torch.equal(neuron(x), plain)
            [membrane] = seen["0"]
            assert membrane.potential is not None
            assert membrane.potential.shape == (4, 30, 5)
            assert torch.equal(membrane.current, x)
            assert torch.allclose(membrane.mean, membrane.potential.mean(1), atol=1e-5)
            assert torch.allclose(membrane.var, membrane.potential.var(1, correction=0), atol=1e-4)

    def test_low_precision_comes_in_and_goes_out(self, trait: Trait) -> None:
        neuron, x = built(trait, training=False), current(4, 3, 5).bfloat16()
        with rng.scope(0):
            spikes = neuron(x)
        assert spikes.dtype == torch.bfloat16
        with rng.scope(0):
            assert torch.equal(spikes, neuron(x.float()).bfloat16())

    def test_a_slot_is_filled_once(self, trait: Trait) -> None:
        for other in TRAITS:
            pair = [trait.to_json(), other.to_json()]
            if other.slot == trait.slot:
                with pytest.raises(InvalidRecipe, match=f"{trait.kind} and {other.kind} are each the {trait.slot} of one"):
                    LIF.parse({"kind": "lif", "traits": pair})
                assert LIF(traits=(trait,)).having(other).traits == (other,)
                continue
            both = LIF.parse({"kind": "lif", "traits": pair})
            assert both == LIF(traits=(other, trait)) == LIF(traits=(trait,)).having(other)
            neuron, x = both.build(steps=3), current(3, 8, 5).requires_grad_()
            for training in (True, False):
                spikes = neuron.train(training)(x)
                assert spikes.shape == (3, 8, 5)
                assert torch.autograd.grad(spikes.sum(), x)[0].isfinite().all()

    def test_state_comes_back_from_its_dict(self, trait: Trait) -> None:
        one, x = built(trait, training=False), current(4, 30, 5)
        other = LIF(traits=(trait,)).build(steps=4).eval()
        other(x)
        other.load_state_dict(one.state_dict())
        assert one.state_dict().keys() == other.state_dict().keys()
        with rng.scope(0):
            first = one(x)
        with rng.scope(0):
            assert torch.equal(other(x), first)
        one(x)  # settling again must not begin anew
        assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())

    def test_copies_share_nothing(self, trait: Trait) -> None:
        one, other = built(trait, training=False), built(trait, training=False)
        kept = {name: tensor.clone() for name, tensor in other.state_dict().items()}
        with torch.no_grad():
            for tensor in one.state_dict().values():
                tensor.add_(1)
        assert all(torch.equal(tensor, kept[name]) for name, tensor in other.state_dict().items())


NEUTRAL: list[tuple[dict[str, Any], dict[str, Any], tuple[bool, ...]]] = [
    ({"kind": "membrane-noise", "sigma": 0}, {}, (True, False)),
    ({"kind": "membrane-noise", "sigma": 0.5}, {}, (False,)),
    ({"kind": "step-gain"}, {}, (True, False)),
    ({"kind": "evolutionary-leak"}, {}, (True, False)),
    ({"kind": "evolutionary-leak", "start": 0.5}, {"decay": 0.5}, (True, False)),
    ({"kind": "learned-leak", "start": 0.5}, {"decay": 0.5}, (True, False)),
    ({"kind": "stochastic-gate"}, {}, (True, False)),
    ({"kind": "stochastic-gate", "inference": "expectation"}, {}, (True, False)),
    ({"kind": "homeostatic-threshold"}, {}, (True, False)),
    ({"kind": "adaptive-smooth", "p": 1}, {}, (True, False)),
    ({"kind": "adaptive-smooth"}, {}, (False,)),
    ({"kind": "dspike-firing"}, {}, (True, False)),
    ({"kind": "learned-window"}, {}, (True, False)),
    ({"kind": "sampled-firing", "inference": False}, {}, (False,)),
]
"""A trait, the plain neuron with whose spikes it agrees bit for bit, and in which modes (training or not)."""


@pytest.mark.parametrize(("trait", "settings", "modes"), NEUTRAL, ids=str)
def test_a_trait_at_rest_is_lif(trait: dict[str, Any], settings: dict[str, Any], modes: tuple[bool, ...]) -> None:
    x = current(4, 30, 5)
    for training in modes:
        for reset in ("zero", "subtract"):
            neuron = LIF.parse({"kind": "lif", **settings, "threshold": 0.8, "reset": reset, "traits": [trait]}).build(steps=4)
            plain = LIF.parse({"kind": "lif", **settings, "threshold": 0.8, "reset": reset}).build(steps=4)
            assert torch.equal(neuron.train(training)(x), plain(x))


def test_every_trait_is_at_rest_somewhere_or_known_to_have_no_rest() -> None:
    restless = {"membrane-rectifier"}  # it bends every membrane between 0 and the threshold
    assert {trait.kind for trait in TRAITS} <= {trait["kind"] for trait, _, _ in NEUTRAL} | restless


@pytest.mark.parametrize("rule", RULES, ids=BY_KIND)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
class TestRule:
    @pytest.mark.parametrize("steps", [1, 4])
    def test_gradient(self, rule: GradientRule, dtype: torch.dtype, steps: int) -> None:
        for given in {1, steps}:
            x = current(given, 3, 5, dtype=dtype).requires_grad_()
            spikes, seen = rule.spikes(x, steps=steps, dynamics=LIF(), surrogate=LIF().surrogate)
            assert seen is None
            assert spikes.shape == (steps, 3, 5)
            (gradient,) = torch.autograd.grad(spikes.square().sum(), x)
            assert gradient.shape == x.shape
            assert gradient.dtype == dtype
            assert gradient.isfinite().all()
            assert gradient.any()

    def test_watched_values_do_not_depend_on_the_rule(self, rule: GradientRule, dtype: torch.dtype) -> None:
        x, watch = current(4, 3, 5, dtype=dtype), Watch(moments=True, bands=(0.2, 0.5), potential=True)
        found = []
        for each in (BPTT(), rule):
            seen = each.spikes(x, steps=4, dynamics=LIF(decay=0.5), surrogate=LIF().surrogate, watch=watch)[1]
            assert seen is not None
            found.append(seen)
        for name in ("potential", "spikes"):
            assert torch.equal(getattr(found[0], name), getattr(found[1], name))
        for name in ("mean", "var", "hinge"):  # a rule with a slope of its own runs another kernel, which sums in another order
            assert torch.allclose(getattr(found[0], name), getattr(found[1], name), rtol=8 * torch.finfo(dtype).eps)


@pytest.fixture(scope="module")
def firing_network() -> nn.Module:
    """A small network in which every layer fires and no layer fires always."""
    model = sg.networks.build("vgg4-tiny", image_shape=(1, 8, 8), steps=4, seed=1)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.mul_(2 if isinstance(module, nn.Conv2d) else 6)
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-0.2, 0.2, generator=torch.Generator().manual_seed(2))  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(3))  # type: ignore[union-attr]
    return model.eval()


def freeze_normalisation(model: nn.Module) -> nn.Module:
    """Training mode, except for the normalisation layers."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return model


@pytest.mark.parametrize("rule", [None, *RULES, *(BPTT(surrogate=s) for s in SURROGATES)], ids=BY_KIND)
def test_logits_are_bit_identical_under_every_rule_and_mode(firing_network: nn.Module, rule: GradientRule | None) -> None:
    x = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = firing_network.eval()(x)
    with watching(firing_network, Watch(potential=True)) as seen, use_rule(firing_network, rule):
        firing_network(x)
    for name in neurons_of(firing_network):
        assert 0 < seen[name][0].spikes.mean() < 1, name  # type: ignore[union-attr]
    assert plain.std() > 0
    for mode in (firing_network.eval, lambda: freeze_normalisation(firing_network)):
        mode()
        leaf = x.clone().requires_grad_()
        with use_rule(firing_network, rule):
            logits = firing_network(leaf)
        assert torch.equal(logits.detach(), plain)
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(logits, torch.arange(6), reduction="sum"), leaf)
        assert gradient.isfinite().all()
        assert (gradient.flatten(1).abs().amax(1) > 0).all()  # every image, in eval mode too
    firing_network.eval()


def test_layers_and_neurons_follow_dtype_and_memory() -> None:
    model = nn.Sequential(OverTime(nn.Linear(5, 7)), LIF().build(steps=4)).double()
    assert model(current(4, 3, 5, dtype=torch.float64)).dtype == torch.float64
