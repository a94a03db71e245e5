"""Repaired models: the answers of the model itself, with the gradient and the state that it should have."""

import copy
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnguard.attacks import PGD, InputGradient, frozen
from snnguard.attacks.repair import Repaired, awake
from snnguard.networks import build
from snnguard.neurons import BPTT, RateGradient, neurons_of
from snnguard.threat import Linf

W = torch.tensor([[1.0, -2.0, 0.5, 3.0], [-1.0, 0.25, 2.0, 0.5]], dtype=torch.float64)
Y = torch.tensor([0, 1, 0])


def images(n: int = 3, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(n, 4, generator=torch.Generator().manual_seed(n), dtype=torch.float64).to(dtype)


class Rounding(nn.Module):
    """Levels of a tenth, which binary numbers miss: x + (levels - x) would not give them back."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * 10).round() / 10


class Linear(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x @ W.T.to(x)


class Half(nn.Module):
    """Rounds, and gives single precision."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * 10).round().float() / 10


class Cut(nn.Module):
    """No gradient, and half of the pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * 10).round()[:, :2]


def gradient(model: nn.Module, x: Tensor) -> Tensor:
    with frozen(model):
        return InputGradient()(model, x, Y[: len(x)]).gradient


# --- bridges --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_bridge_has_the_value_of_the_layer_bit_for_bit_and_the_gradient_of_the_identity(dtype: torch.dtype) -> None:
    model, x = nn.Sequential(Rounding(), Linear()), images(200, dtype)
    repaired = Repaired(model, bridged=("0",))
    assert torch.equal(repaired(x), model(x))
    few = x[:3]
    assert not gradient(model, few).any()
    with torch.no_grad():
        p = model(few).softmax(1)
    p[range(3), Y] -= 1  # d cross-entropy / d logits = p - one-hot
    torch.testing.assert_close(gradient(repaired, few), p @ W.to(p))


def test_two_bridges_and_a_layer_inside() -> None:
    model = nn.Sequential(Rounding(), nn.Sequential(nn.Identity(), Rounding()), Linear())
    assert not gradient(Repaired(model, bridged=("0",)), images()).any()
    assert gradient(Repaired(model, bridged=("0", "1.1")), images()).abs().amin() > 0
    assert gradient(Repaired(model, bridged=("0", "1")), images()).abs().amin() > 0


def test_a_bridge_over_a_layer_that_changes_the_precision() -> None:
    model, x = nn.Sequential(Half(), Linear()), images()
    repaired = Repaired(model, bridged=("0",))
    assert repaired(x).dtype == torch.float32
    assert torch.equal(repaired(x), model(x))
    assert gradient(repaired, x).dtype == torch.float64
    assert gradient(repaired, x).abs().amin() > 0


@pytest.mark.parametrize("layer", [Cut(), nn.Flatten(0)], ids=["fewer", "flat"])
def test_a_layer_that_changes_the_shape_is_left_alone(layer: nn.Module) -> None:
    model = nn.Sequential(layer)
    x = images().requires_grad_()
    out = Repaired(model, bridged=("0",))(x)
    assert torch.equal(out, model(x))
    assert out.requires_grad == model(x).requires_grad
    if out.requires_grad:
        ours, own = (torch.autograd.grad(f(x).square().sum(), x)[0] for f in (Repaired(model, bridged=("0",)), model))
        assert torch.equal(ours, own)


def test_what_is_no_number_or_no_tensor_is_left_alone() -> None:
    class Over(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x > 0.5

    class Pair(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    class Chosen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.over, self.pair = Over(), Pair()

        def forward(self, x: Tensor) -> Tensor:
            return torch.where(self.over(x), self.pair(x)[1], 0.0)

    x = images()
    assert torch.equal(Repaired(Chosen(), bridged=("over", "pair"))(x), torch.where(x > 0.5, x, 0.0))


def test_the_bridges_are_gone_after_the_call() -> None:
    model = nn.Sequential(Rounding(), Linear())
    Repaired(model, bridged=("0",))(images())
    assert not model[0]._forward_hooks
    assert not gradient(model, images()).any()


def test_an_attack_gets_through() -> None:
    model, x = nn.Sequential(Rounding(), Linear()), 0.5 + 0.1 * (images() - 0.5)
    attack = PGD(steps=2, step_fraction=1.0, random_start=False)
    assert torch.equal(attack(model, x, Y, threat=Linf(eps=0.3), seed=0), x)
    x_adv = attack(Repaired(model, bridged=("0",)), x, Y, threat=Linf(eps=0.3), seed=0)
    other = W[1 - Y] - W[Y]  # the steepest way from one class to the other
    torch.testing.assert_close(x_adv, x + 0.3 * other.sign())


# --- training mode --------------------------------------------------------------------------------------------------


class BlindInEval(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        levels = (x * 10).round() / 10
        return 2 * x + (levels - 2 * x).detach() if self.training else levels


def layered() -> nn.Sequential:
    """A blind layer between a normalisation of each sort and a dropout, all of them other in training mode."""
    norms = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5))
    model = nn.Sequential(norms, BlindInEval(), nn.Unflatten(1, (2, 2)), nn.InstanceNorm1d(2, track_running_stats=True))
    model.append(nn.Flatten()).append(Linear()).double()
    norms[0].running_mean += 0.3
    model[3].running_var += 2.0
    return model.eval()


def test_awake_has_the_gradient_of_the_training_mode_and_the_answers_of_eval_mode() -> None:
    model, x = layered(), images()
    repaired = Repaired(model, awake=True)
    assert not gradient(model, x).any()
    torch.testing.assert_close(repaired(x), model(x))
    norm, seen = model[0][0], gradient(repaired, x)
    # The gradient of the straight line 2 x between the two normalisations, which are affine maps in eval mode.
    scale = 2 / (norm.running_var + norm.eps).sqrt() / (model[3].running_var[0] + model[3].eps).sqrt()
    with torch.no_grad():
        p = model(x).softmax(1)
    p[range(3), Y] -= 1
    torch.testing.assert_close(seen, (p @ W) * scale)


def test_modes_and_statistics_are_as_before() -> None:
    model = layered()
    model[1].training = True
    modes = [m.training for m in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Repaired(model, awake=True)(images())
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_our_own_neurons_stay_in_their_mode() -> None:
    model = nn.Sequential(nn.Identity(), build("vgg4-tiny", classes=3, image_shape=(1, 8, 8), steps=2)).eval()
    with awake(model):
        assert model[0].training
        assert not any(m.training for m in model[1].modules() if type(m).__module__.startswith("snnguard."))
    assert not any(m.training for m in model.modules())


# --- state ----------------------------------------------------------------------------------------------------------


class Kept(nn.Module):
    """Adds what it keeps from the calls before; `keep` says how, and what is there at first."""

    def __init__(self, at_first: Callable[[nn.Module], None], keep: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.keep = keep
        at_first(self)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.keep(self, x.detach().mean())


def in_attribute(module: Any, new: Tensor) -> Tensor:
    old, module.v = module.v, module.v + new
    return torch.as_tensor(old)


def in_place(module: Any, new: Tensor) -> Tensor:
    old = module.v.clone()
    module.v += new
    return old


def in_dict(module: Any, new: Tensor) -> Tensor:
    old = module.memories["v"]
    module.memories["v"] = old + new
    return torch.as_tensor(old)


def in_dict_in_place(module: Any, new: Tensor) -> Tensor:
    old = module.memories["deep"][0].clone()
    module.memories["deep"][0].add_(new)
    return old


def in_tuple(module: Any, new: Tensor) -> Tensor:
    hidden, _ = module.pair
    old = hidden.clone()
    hidden.add_(new)
    return old


def in_queue(module: Any, new: Tensor) -> Tensor:
    module.queue.append(new)
    return module.queue[0]


def created(module: Any, new: Tensor) -> Tensor:
    old = module.made if hasattr(module, "made") else torch.zeros(())
    module.made = old + new
    return old


def shared(module: Any, new: Tensor) -> Tensor:
    """Two names for one tensor: what goes in by one comes out by the other, else this is not what was kept."""
    module.one.add_(new)
    return module.other - new


def zero() -> Tensor:
    return torch.zeros((), dtype=torch.float64)


STATEFUL: dict[str, tuple[Callable[..., None], Callable[..., Tensor]]] = {
    "attribute": (lambda m: setattr(m, "v", 0.0), in_attribute),
    "tensor": (lambda m: setattr(m, "v", zero()), in_attribute),
    "tensor in place": (lambda m: setattr(m, "v", zero()), in_place),
    "buffer": (lambda m: m.register_buffer("v", zero()), in_attribute),
    "buffer in place": (lambda m: m.register_buffer("v", zero()), in_place),
    "dict": (lambda m: setattr(m, "memories", OrderedDict(v=0.0)), in_dict),
    "dict in place": (lambda m: setattr(m, "memories", {"deep": [zero()]}), in_dict_in_place),
    "tuple in place": (lambda m: setattr(m, "pair", (zero(), None)), in_tuple),
    "queue": (lambda m: setattr(m, "queue", deque([zero(), zero()], maxlen=2)), in_queue),
    "created": (lambda m: None, created),
    "shared": (lambda m: vars(m).update(dict.fromkeys(("one", "other"), zero())), shared),
}


def stateful(kind: str) -> nn.Sequential:
    return nn.Sequential(Kept(*STATEFUL[kind]), Linear())


@pytest.mark.parametrize("kind", STATEFUL)
def test_every_call_of_a_fresh_one_is_the_first(kind: str) -> None:
    x = images()
    first = stateful(kind)(x)
    model = stateful(kind)
    repaired = Repaired(model, fresh=True)
    keeping = copy.deepcopy(model)
    keeping(x), keeping(x)
    assert not torch.equal(keeping(x), first)  # the fault is there
    model(x)  # what is done to the model beside it makes no difference
    assert torch.equal(repaired(x), first)
    torch.testing.assert_close(repaired(x[:1]), first[:1])
    assert torch.equal(repaired(x), first)
    assert torch.equal(model(x), first)  # and it is left in the state it was in at first


@pytest.mark.parametrize("kind", STATEFUL)
def test_the_state_is_put_back_after_a_fault(kind: str) -> None:
    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("broken")

    x, model = images(), stateful(kind)
    first, broken = stateful(kind)(x), nn.Sequential(model, BlindInEval(), Faulty()).eval()
    repaired = Repaired(broken, fresh=True, awake=True, bridged=("1",))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="broken"):
            repaired(x)
    assert torch.equal(model(x), first)
    assert not any(m.training for m in broken.modules())
    assert not broken[1]._forward_hooks


def test_without_fresh_the_state_is_the_models_own() -> None:
    model, other = stateful("tensor"), stateful("tensor")
    repaired = Repaired(model, bridged=("0",))
    for _ in range(3):
        assert torch.equal(repaired(images()), other(images()))


def test_a_mending_knows_the_first_state() -> None:
    model = stateful("tensor")
    first, untouched = stateful("tensor")(images()), Repaired(model, fresh=True)
    model(images()), model(images())
    assert torch.equal(untouched.mending(bridged=("0",), awake=True, fresh=True)(images()), first)
    model(images())
    assert not torch.equal(untouched.mending(bridged=(), awake=False, fresh=False)(images()), first)


def test_parameters_and_what_else_is_held_are_the_same_objects_afterwards() -> None:
    class Holding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 2).double()
            self.tied, self.log = [self.linear.weight], logger

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.tied[0].T

    logger = object()
    model = Holding()
    weight = model.linear.weight
    repaired = Repaired(model, fresh=True)
    repaired(images())
    assert model.linear.weight is weight
    assert model.tied[0] is weight
    assert model.log is logger
    assert dict(repaired.named_parameters()).keys() == {"model.linear.weight", "model.linear.bias"}


def test_parts_that_are_made_during_the_call_stay() -> None:
    class Lazy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if not hasattr(self, "part"):
                self.part = Linear()
            return self.part(x)

    repaired = Repaired(Lazy(), fresh=True)
    assert torch.equal(repaired(images()), repaired(images()))


def test_the_gradient_is_that_of_the_first_call_though_the_state_is_put_back_before_it_is_taken() -> None:
    class Gated(nn.Module):
        """x times what is kept: in-place changes after the call would spoil its gradient."""

        def __init__(self) -> None:
            super().__init__()
            self.gate = torch.full((4,), 2.0, dtype=torch.float64)

        def forward(self, x: Tensor) -> Tensor:
            out = x * self.gate
            self.gate = self.gate + 1
            return out

    model, x = nn.Sequential(Gated(), Linear()), images()
    repaired = Repaired(model, fresh=True)
    assert torch.equal(gradient(repaired, x), gradient(repaired, x))
    assert torch.equal(gradient(repaired, x), gradient(nn.Sequential(Gated(), Linear()), x))


@pytest.mark.parametrize("rule", [RateGradient(), BPTT(surrogate="sigmoid")], ids=str)
def test_the_rule_of_the_attack_reaches_the_neurons_of_a_fresh_one(rule: Any) -> None:
    net = build("vgg4-tiny", classes=3, image_shape=(1, 8, 8), steps=2, seed=1).double().eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, 3.0)
    model = nn.Sequential(nn.Identity(), net)
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    bare, own = (InputGradient(rule=r)(model, x, Y).gradient for r in (rule, None))
    assert not torch.equal(bare, own)
    for settings in ({"fresh": True}, {"fresh": True, "awake": True, "bridged": ("0",)}):
        found = InputGradient(rule=rule)(Repaired(model, **settings), x, Y).gradient
        assert torch.equal(found, bare)
    assert all(neuron.rule is None for neuron in neurons_of(model).values())
