"""What every registered defense promises: each test runs over the whole registry."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from snnguard import rng
from snnguard.attacks import Attack
from snnguard.data import fake
from snnguard.defenses import MPDSGR, REG, TGO, AdversarialTraining, Batch, Defense, Stack, Step, rat
from snnguard.errors import DefenseConflict
from snnguard.layers import TDBN, watching
from snnguard.networks import Network, SpikingClassifier, construct
from snnguard.neurons import MembraneNoise
from snnguard.training import SGD, Training, fit, read_tensors

NAMES = sorted(name for name, make in Defense.members().items() if make.__module__.startswith("snnguard."))
KINDS = [name for name in NAMES if isinstance(Defense.members()[name], type) and name != "stack"]
WORDS = {"loss", "data", "weights", "neuron", "encoding", "residual"}
DATA = fake(classes=3, image_shape=(1, 8, 8), train=16, validation=8, test=4)
STEPS = 4  # two epochs of two

OFF: dict[str, dict[str, Any]] = {
    "at": {"threat": {"kind": "linf", "eps": 0}},
    "awp": {"gamma": 0},
    "distill": {"weight": 0},
    "ema": {"decay": 0},
    "feel": {"encoding": False, "leak": False},
    "hire": {"threat": {"kind": "linf", "eps": 0}, "learn_leak": False},
    "hosnn": {"rate": 0},
    "im-loss": {"weight": 0},
    "inflor": {"rectify": False, "soft_reset": False},
    "label-smoothing": {"amount": 0},
    "mart": {"threat": {"kind": "linf", "eps": 0}},
    "mixup": {"alpha": 0},
    "mpd-sgr": {"eta": 0},
    "ndl": {"sigma": 0},
    "recdis": {"degeneration": 0, "saturation": 0, "mismatch": 0},
    "reg": {"beta": 0},
    "rmp": {"weight": 0},
    "rsc": {"sigma": 0},
    "smoothing": {"sigma": 0},
    "sr": {"weight": 0},
    "tgo": {"lambda_max": 0, "sigma": 0},
    "tgo-adaptive": {"lambda_max": 0, "sigma": 0},
    "trades": {"beta": 0},
}
"""The settings at which a defense is none, bit for bit."""

NO_STRENGTH = {
    "asgl": "a neuron with a learned slope, whatever the share of real spikes",
    "convex-residuals": "another merge of residual blocks",
    "dlif": "a neuron with a gain and the decay of the paper, and a second pass",
    "dspike": "another surrogate",
    "lsg": "a surrogate with a learned width",
    "plif": "a neuron with a learned leak",
    "poisson": "another input coding",
    "soft-reset": "another reset",
    "stog": "a neuron with gates; held open they change no bit of the rest, see its own test",
}
"""Defenses without such settings, and why."""


def make(name: str) -> Defense:
    member = Defense.members()[name]
    return member.example() if isinstance(member, type) else member()


def parts(defense: Defense) -> tuple[Defense, ...]:
    return defense.parts if isinstance(defense, Stack) else (defense,)


def off(*names: str) -> Stack:
    return Stack(tuple(Defense.parse({"kind": name, **OFF[name]}) for name in names))


NOTHING: dict[str, Callable[[], Defense]] = {
    **{name: lambda name=name: off(name).parts[0] for name in OFF},
    "empty stack": Stack,
    "stack of stacks": lambda: Stack(parts=(Stack(), Stack(parts=(Stack(),)))),
    "mpd-sgr, analytic": lambda: MPDSGR(eta=0, moments="analytic"),
    "trades, no radius": lambda: Defense.parse({"kind": "trades", "threat": {"kind": "linf", "eps": 0}}),
    # `trades` and `mart` cannot stand beside `at`, not even switched off.
    "all": lambda: off(*(name for name in OFF if name not in ("trades", "mart"))),
    "all but at": lambda: off(*(name for name in OFF if name not in ("at", "mart"))),
}


def network(**settings: object) -> Network:
    return Network(name="vgg4-tiny", steps=2, **settings)


def constructed(network: Network, *, seed: int = 0) -> SpikingClassifier:
    """An untrained network whose last layers are not silent."""
    model = construct(network, classes=3, image_shape=DATA.image_shape, mean=DATA.mean, std=DATA.std, seed=seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.weight.mul_(6)
    return model


def teachers(defense: Defense) -> dict[str, nn.Module]:
    """Networks in the place of the trained ones that a defense learns from."""
    return {
        name: constructed(other.design(network()), seed=5).eval().requires_grad_(False)
        for name, other in defense.teachers().items()
    }


def trained(
    defense: Defense, out: Path | None = None, *, max_steps: int | None = None, epochs: int = 2
) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """Weights and statistics after a few steps on made-up images, and what was logged."""
    model = constructed(defense.design(network()))
    training = Training(
        epochs=epochs, batch_size=8, optimiser=SGD(learning_rate=0.05), device="cpu", probe_size=4, max_steps=max_steps
    )
    lines: list[dict[str, float]] = []
    fit(
        model, DATA.train, DATA.validation, defense=defense, training=training, seed=3, out=out,
        report=lambda step, total, line: lines.append(line), teachers=teachers(defense),
    )  # fmt: skip
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}, lines


@pytest.fixture(scope="module")
def undefended() -> dict[str, Tensor]:
    return trained(Stack())[0]


class Whole:
    """Each defense's training from beginning to end, made once."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.done = folder, {}

    def __call__(self, name: str) -> tuple[dict[str, Tensor], list[dict[str, float]], dict[str, Tensor]]:
        if name not in self.done:
            weights, lines = trained(make(name), self.folder / name)
            self.done[name] = weights, lines, read_tensors(self.folder / name / "state.safetensors")[0]
        return self.done[name]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return Whole(tmp_path_factory.mktemp("whole"))


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# Strength


@pytest.mark.parametrize("name", NOTHING)
def test_without_strength_it_is_bit_identical_to_no_defense(name: str, undefended: dict[str, Tensor], tmp_path: Path) -> None:
    defense = NOTHING[name]()
    weights, lines = trained(defense, tmp_path)
    assert same(weights, undefended)
    assert not any(key.startswith("penalty.") for line in lines for key in line)
    assert not defense.watch
    assert defense.design(network()) == network()
    assert defense.adaptive() == ()
    assert defense.teachers() == {}
    assert defense.groups(constructed(network())) == []
    assert not [key for key in read_tensors(tmp_path / "state.safetensors")[0] if key.startswith("memory.")]


def test_every_defense_is_either_off_somewhere_or_known_to_have_no_strength() -> None:
    assert OFF.keys() | NO_STRENGTH.keys() >= set(KINDS)
    assert not OFF.keys() & NO_STRENGTH.keys()
    assert {part.kind for name in NAMES for part in parts(make(name))} <= set(KINDS)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("stack", "convex-residuals")])
def test_with_its_strength_it_does_change_the_weights(name: str, undefended: dict[str, Tensor], whole: Whole) -> None:
    weights = whole(name)[0]
    assert any(not torch.equal(weights[key], tensor) for key, tensor in undefended.items())


def test_gates_that_are_held_open_change_nothing_but_the_state_dict(undefended: dict[str, Tensor]) -> None:
    weights, lines = trained(Defense.parse({"kind": "stog", "start": 1, "prior": 0, "learning_rate_scale": 0}))
    gates = weights.keys() - undefended.keys()
    assert len(gates) == 3
    assert all((weights[name] == 1).all() for name in gates)
    assert same({name: weights[name] for name in undefended}, undefended)
    assert not any(key.startswith("penalty.") for line in lines for key in line)


# Training


@pytest.mark.parametrize("name", NAMES)
def test_it_stays_finite(name: str, whole: Whole) -> None:
    weights, lines, state = whole(name)
    assert all(torch.isfinite(t).all() for t in (*weights.values(), *state.values()))
    assert len(lines) == STEPS


@pytest.mark.parametrize("name", NAMES)
def test_it_resumes_exactly(name: str, whole: Whole, tmp_path: Path) -> None:
    """Stopped within and between epochs, each time to begin anew in another network: the same bits, memory included.

    The call that made `whole` was another one, so this shows that training is repeatable too.
    """
    for stop in (1, 2, 3, None):
        defense = make(name)
        weights, _ = trained(defense, tmp_path, max_steps=stop)
    expected, _, state = whole(name)
    assert same(weights, expected)
    found = read_tensors(tmp_path / "state.safetensors")[0]
    assert same(found, state)
    kinds = tuple(f"memory.{part.kind}." for part in parts(defense))
    assert all(key.startswith(kinds) for key in found if key.startswith("memory."))


@pytest.mark.parametrize("name", NAMES)
def test_training_leaves_the_callers_generator_alone(name: str) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    trained(make(name), max_steps=1)
    assert torch.equal(torch.get_rng_state(), before)


# Descriptions


@pytest.mark.parametrize("name", NAMES)
def test_design_is_pure(name: str) -> None:
    defense, before = make(name), network()
    copy = Network.parse(before.to_json())
    once, twice = defense.design(before), defense.design(before)
    assert before == copy
    assert once == twice
    assert defense.design(once) == once
    assert Network.parse(json.loads(json.dumps(once.to_json()))) == once
    assert {field: value for field, value in once if field not in ("neuron", "encoder", "input_noise", "residual")} == {
        field: value for field, value in before if field not in ("neuron", "encoder", "input_noise", "residual")
    }


@pytest.mark.parametrize("name", NAMES)
def test_json_round_trip(name: str) -> None:
    defense = make(name)
    back = Defense.parse(json.loads(json.dumps(defense.to_json())))
    assert back == defense
    assert hash(back) == hash(defense)
    assert isinstance(Defense.parse(name), Defense)


def designed_words(defense: Defense) -> set[str]:
    """What `design` changes, in the words of `changes`."""
    before = network()
    after = defense.design(before)
    places = {"neuron": ["neuron"], "encoding": ["encoder", "input_noise"], "residual": ["residual"]}
    return {word for word, fields in places.items() if any(getattr(before, f) != getattr(after, f) for f in fields)}


@pytest.mark.parametrize("name", KINDS)
def test_it_says_what_it_changes_and_where_it_comes_from(name: str) -> None:
    defense = make(name)
    said = defense.changes.split(", ")
    assert said
    assert set(said) <= WORDS
    assert len(set(said)) == len(said)
    assert set(said) & {"neuron", "encoding", "residual"} == designed_words(defense)
    assert set(defense.touches().split(", ")) <= set(said)
    assert defense.source
    assert defense.credits()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in KINDS])
def test_a_combination_changes_what_its_parts_change(name: str) -> None:
    defense = make(name)
    assert defense.changes
    assert designed_words(defense) <= {word for part in parts(defense) for word in part.changes.split(", ")}
    if parts(defense):
        assert set(defense.touches().split(", ")) & {"neuron", "encoding", "residual"} == designed_words(defense)


@pytest.mark.parametrize(
    "defense", [*map(make, NAMES), TGO(inference_noise=True), Stack(parts=(TGO(inference_noise=True), REG()))], ids=str
)
def test_a_defense_that_leaves_the_network_random_demands_attacks_with_draws(defense: Defense) -> None:
    model = constructed(defense.design(network()))
    required = defense.adaptive()
    assert all(isinstance(attack, Attack) for attack in required)
    if model.stochastic:
        assert any(getattr(attack, "gradient", None) and attack.gradient.draws > 1 for attack in required)


# Hooks


@contextmanager
def hooked(defense: Defense, model: nn.Module, x: Tensor, *, progress: float) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """The hooks of one step in the order of the loop, up to the loss and the penalties; `around` holds in the block."""
    batch = Batch(x=x, y=torch.arange(len(x)) % 3, clean=x)
    step = Step(progress=progress, seed=1, membranes={}, classes=3, new_epoch=True, teachers=teachers(defense))
    with rng.scope(1):
        defense.prepare(model, batch, step)
        batch = defense.batch(model, batch, step)
        with defense.around(model, batch, step):
            with watching(model, defense.watch) as seen:
                logits = model(batch.x)
            step = replace(step, membranes={name: passes[-1] for name, passes in seen.items()})
            loss = defense.objective(model, batch, logits, step)
            loss = functional.cross_entropy(logits, batch.y) if loss is None else loss
            yield loss, defense.penalties(model, batch, logits, step)


def images(n: int = 6) -> Tensor:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NAMES)
def test_penalties_are_finite_scalars_that_reach_the_weights(name: str) -> None:
    defense = make(name)
    model = constructed(defense.design(network())).train()
    with hooked(defense, model, images(), progress=0.4) as (_, penalties):
        for term in penalties.values():
            assert term.shape == ()
            assert torch.isfinite(term)
            assert term > 0
            gradients = torch.autograd.grad(term, trainable(model), allow_unused=True, retain_graph=True)
            found = [g for g in gradients if g is not None]
            assert all(torch.isfinite(g).all() for g in found)
            assert any(g.abs().sum() > 0 for g in found)


def trainable(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


@torch.no_grad()
def silent(model: nn.Module) -> Tensor:
    """No current anywhere: black images, no biases. The encoders' own noise remains."""
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.zero_()
    for module in model.modules():
        if isinstance(module, TDBN):
            module.weight.zero_()
    return torch.zeros(6, 1, 8, 8)


@torch.no_grad()
def saturated(model: nn.Module) -> Tensor:
    """A hundredfold, so that what fires fires always and logits are enormous."""
    for name, parameter in model.named_parameters():
        if name.endswith("weight"):
            parameter.mul_(100)
    return images()


def constant(model: nn.Module) -> Tensor:
    """The same grey in every image: no variance in any channel."""
    return torch.full((6, 1, 8, 8), 0.5)


@pytest.mark.parametrize("state", [silent, saturated, constant], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_loss_and_penalties_are_finite_whatever_the_membranes(name: str, state: Callable[[nn.Module], Tensor]) -> None:
    defense = make(name)
    model = constructed(defense.design(network())).train()
    x = state(model)
    for progress in (0.0, 0.75):
        with hooked(defense, model, x, progress=progress) as (loss, penalties):
            for term in (loss, *penalties.values()):
                assert torch.isfinite(term)
                if term.requires_grad:
                    gradients = torch.autograd.grad(term, trainable(model), allow_unused=True, retain_graph=True)
                    assert all(torch.isfinite(g).all() for g in gradients if g is not None)


@pytest.mark.parametrize("name", NAMES)
def test_hooks_leave_modes_statistics_and_images_alone(name: str) -> None:
    defense = make(name)
    model: nn.Module = constructed(defense.design(network())).train()
    norms = {name: m for name, m in model.named_modules() if isinstance(m, TDBN)}
    statistics = {f"{name}.{key}": b.clone() for name, m in norms.items() for key, b in m.named_buffers()}
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    x = images(4)
    batch = Batch(x=x, y=torch.arange(4) % 3, clean=x)
    step = Step(progress=0.4, seed=1, membranes={}, classes=3, new_epoch=True, teachers=teachers(defense))
    defense.prepare(model, batch, step)
    changed = defense.batch(model, batch, step)
    with defense.around(model, changed, step):
        pass
    assert all(torch.equal(p, weights[name]) for name, p in model.named_parameters())
    defense.constrain(model, step)
    assert torch.equal(x, images(4))
    assert batch.y.tolist() == [0, 1, 2, 0]
    assert changed.clean.shape == x.shape
    assert changed.x.shape in (x.shape, (4, 2, 1, 8, 8))
    assert len(changed.y) == 4
    assert all(m.training for m in model.modules())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(b, statistics[f"{name}.{key}"]) for name, m in norms.items() for key, b in m.named_buffers())
    assert all(not teacher.training for teacher in step.teachers.values())


@pytest.mark.parametrize("name", NAMES)
def test_the_last_steps_projections_hold_the_weights_where_they_are(name: str) -> None:
    """`constrain` alone, on a fresh network, keeps everything finite and of its shape; `finish` after it too."""
    defense = make(name)
    model = constructed(defense.design(network()))
    shapes = {name: t.shape for name, t in model.state_dict().items()}
    step = Step(progress=1.0, seed=1, membranes={}, classes=3, teachers=teachers(defense))
    with rng.scope(0):
        defense.constrain(model, step)
        defense.finish(model, step)
    assert {name: t.shape for name, t in model.state_dict().items()} == shapes
    assert all(torch.isfinite(t).all() for t in model.state_dict().values())


# Stacks


def stacked(one: Defense, other: Defense) -> Stack | None:
    """The stack, or None where it is refused with a message that names a part of each."""
    try:
        return Stack((one, other))
    except DefenseConflict as error:
        said = str(error)
    for defense in (one, other):
        named = [re.search(rf"(?<![\w-]){part.kind}(?![\w-])", said) for part in parts(defense)]
        assert any(named), f"the refusal of {one} with {other} does not name both: {said}"
    return None


def beside(first: Defense, second: Defense) -> None:
    stack = stacked(first, second)
    if stack is not None:
        weights, _ = trained(stack, max_steps=1)
        assert all(torch.isfinite(t).all() for t in weights.values())


ATTACKED = {
    "at": AdversarialTraining.example(), "rat": rat(attack=AdversarialTraining.example().attack), "trades": make("trades"),
}  # fmt: skip


@pytest.mark.parametrize("partner", ATTACKED)
@pytest.mark.parametrize("name", NAMES)
def test_it_trains_behind_adversarial_training_or_says_why_not(name: str, partner: str) -> None:
    beside(ATTACKED[partner], make(name))


@pytest.mark.parametrize(
    ("name", "partner"),
    [(n, p) for n in NAMES for p in ATTACKED],
)
def test_it_trains_before_adversarial_training_or_says_why_not(name: str, partner: str) -> None:
    beside(make(name), ATTACKED[partner])


@pytest.mark.parametrize("name", NAMES)
def test_pairs_design_one_network_in_either_order_or_are_refused(name: str) -> None:
    for other in NAMES[NAMES.index(name) :]:
        stacks = stacked(make(name), make(other)), stacked(make(other), make(name))
        assert (stacks[0] is None) == (stacks[1] is None), f"{name} and {other} contradict in one order alone"
        if stacks[0] is None or stacks[1] is None:
            continue
        one, two = (stack.design(network()) for stack in stacks)
        assert one == two, f"{name} and {other} design another network in the other order"
        assert stacks[0].design(one) == one
        model = construct(one, classes=3, image_shape=(1, 8, 8), mean=[0.0], std=[1.0])
        required = {type(attack) for part in (make(name), make(other)) for attack in part.adaptive()}
        assert {type(attack) for attack in stacks[0].adaptive()} == required
        assert not model.stochastic or required


def test_noise_is_designed_in_only_where_it_is_wanted() -> None:
    assert isinstance(TGO().design(network()).neuron.traits[0], MembraneNoise)
    assert TGO(sigma=0).design(network()).neuron.traits == ()
