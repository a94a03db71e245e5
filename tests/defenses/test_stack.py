"""Stacks: what contradicts, what is flattened, and in which order the parts contribute."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from snnguard.defenses import MPDSGR, REG, TGO, AdversarialTraining, Batch, ConvexResiduals, Defense, Stack, Step
from snnguard.errors import DefenseConflict, RequestError
from snnguard.networks import Network
from snnguard.neurons import LIF, Watch

STEP = Step(progress=0.5, seed=1, membranes={})


def batch(x: float = 1.0) -> Batch:
    images = torch.full((2, 1, 2, 2), x)
    return Batch(x=images, y=torch.tensor([0, 1]), clean=images)


@pytest.fixture
def new(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Defense]]:
    """`new(kind, **hooks)`: a defense with these hooks, registered for the length of a test."""
    monkeypatch.setattr(Defense, "_members", dict(Defense.members()))

    def make(name: str, **hooks: object) -> Defense:
        return type(name, (Defense,), {"__module__": __name__, "__annotations__": {}, **hooks}, kind=name)()

    return make


def own_loss(self: Defense, model: object, batch: Batch, logits: Tensor, step: Step) -> Tensor:
    return logits.sum()


def test_two_training_losses_contradict(new: Callable[..., Defense]) -> None:
    one, two = new("one", objective=own_loss), new("two", objective=own_loss)
    with pytest.raises(DefenseConflict, match="one and two each replace the training loss"):
        Stack(parts=(one, two))
    stack = Stack(parts=(REG(), one))
    assert stack.objective(None, batch(), torch.ones(2, 3), STEP) == 6
    assert Stack(parts=(REG(),)).objective(None, batch(), torch.ones(2, 3), STEP) is None


def test_a_kind_stands_once() -> None:
    with pytest.raises(DefenseConflict, match=r"'mpd-sgr' stands 2 times"):
        Stack(parts=(MPDSGR(), REG(), MPDSGR(eta=1)))
    with pytest.raises(DefenseConflict, match="'reg'"):
        Stack(parts=(REG(), Stack(parts=(REG(),))))


def test_two_neurons_contradict(new: Callable[..., Defense]) -> None:
    def leak(self: Defense, network: Network) -> Network:
        return network.model_copy(update={"neuron": LIF(decay=0.5)})

    leaky = new("leaky", design=leak)
    with pytest.raises(DefenseConflict, match="undoes what tgo sets as the network's neuron's noise"):
        Stack(parts=(TGO(), leaky))
    Stack(parts=(TGO(sigma=0), leaky))  # without noise TGO leaves the neuron alone
    Stack(parts=(leaky, new("leaky-too", design=leak)))  # both want the same


def test_a_conflict_in_a_recipe_is_a_request_that_cannot_be_fulfilled() -> None:
    with pytest.raises(RequestError, match="'reg' stands 2 times"):
        Defense.parse({"kind": "stack", "parts": ["reg", {"kind": "rat"}]})


def test_stacks_are_flattened_in_order() -> None:
    flat = Stack(parts=(REG(), MPDSGR(), TGO(), AdversarialTraining()))
    nested = Stack(
        parts=(Stack(parts=(REG(), Stack(parts=(MPDSGR(),)))), Stack(), TGO(), Stack(parts=(AdversarialTraining(),)))
    )
    assert nested == flat
    assert [part.kind for part in nested.parts] == ["reg", "mpd-sgr", "tgo", "at"]
    assert Stack((REG(),)) == Stack(parts=(REG(),))


def test_images_pass_from_left_to_right(new: Callable[..., Defense]) -> None:
    double = new("double", batch=lambda self, model, batch, step: batch.with_x(batch.x * 2))
    add = new("add", batch=lambda self, model, batch, step: batch.with_x(batch.x + 3))
    assert Stack(parts=(double, add)).batch(None, batch(), STEP).x.unique().tolist() == [5]
    after = Stack(parts=(add, double)).batch(None, batch(), STEP)
    assert after.x.unique().tolist() == [8]
    assert after.clean.unique().tolist() == [1]


def test_weights_are_constrained_from_left_to_right(new: Callable[..., Defense]) -> None:
    order: list[str] = []
    parts = tuple(new(n, constrain=lambda self, model, step: order.append(self.kind)) for n in ("b", "a", "c"))
    Stack(parts=parts).constrain(None, STEP)
    assert order == ["b", "a", "c"]


def test_watches_are_united() -> None:
    watch = Stack(parts=(MPDSGR(), TGO(delta=0.3))).watch
    assert watch == Watch(moments=True, bands=(0.3,))
    assert Stack(parts=(REG(),)).watch == Watch()
    assert not Stack(parts=(MPDSGR(moments="analytic"),)).watch


def test_penalties_are_kept_by_kind(new: Callable[..., Defense]) -> None:
    def term(value: float) -> Callable[..., Tensor]:
        return lambda self, model, batch, logits, step: torch.tensor(value)

    stack = Stack(parts=(new("first", penalty=term(1.0)), REG(), new("second", penalty=term(2.0))))
    terms = stack.penalties(None, batch(), torch.ones(2, 3), STEP)
    assert {name: float(value) for name, value in terms.items()} == {"first": 1.0, "second": 2.0}


def test_designs_groups_and_required_attacks_are_those_of_the_parts() -> None:
    stack = Stack(parts=(TGO(inference_noise=True), REG(), ConvexResiduals()))
    designed = stack.design(Network(name="wrn16"))
    assert designed.residual == "convex"
    assert [trait.kind for trait in designed.neuron.traits] == ["membrane-noise"]
    model = torch.nn.Linear(2, 2)
    assert [g.weight_decay for g in stack.groups(model)] == [0.0]
    assert stack.adaptive() == TGO(inference_noise=True).adaptive()


def test_round_trip() -> None:
    stack = Stack(parts=(MPDSGR(eta=0.5), TGO(sigma=0.1), REG()))
    assert Defense.parse(stack.to_json()) == stack
