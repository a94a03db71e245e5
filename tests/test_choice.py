"""Choices: round trips, polymorphic fields, discovery, and what a wrong value is told."""

import importlib
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import final

import pytest
from pydantic import PositiveFloat, ValidationError

import snnguard as sg
from snnguard.attacks import PGD, Attack, Loss
from snnguard.choice import Choice, discover, named
from snnguard.data import Data
from snnguard.defenses import Defense, Stack
from snnguard.encoders import Encoder
from snnguard.errors import InvalidRecipe, RequestError, UnknownName
from snnguard.networks import Network
from snnguard.neurons import BPTT, LIF, ATan, Dynamics, GradientRule, MembraneNoise, Sigmoid, Surrogate, Triangle, nlif
from snnguard.threat import L2, Linf, Threat
from snnguard.training import Optimiser, Training

FAMILIES = [Attack, Loss, Defense, Encoder, Dynamics, GradientRule, Surrogate, Threat, Optimiser]
NEEDED = {"linf": {"eps": 0.1}, "l2": {"eps": 0.5}, "ensemble": {"attacks": ["pgd", "square"]}}
"""The only fields without a default, by kind."""


class Shape(Choice):
    """A toy family."""


class Circle(Shape, kind="circle"):
    radius: PositiveFloat = 1.0


class Box(Shape, kind="box"):
    width: PositiveFloat = 1.0
    inside: Shape | None = None


@named(Shape, "disc")
def disc(*, size: float = 2.0) -> Circle:
    return Circle(radius=size)


class Scene(Choice):
    """A toy without a kind, whose field is polymorphic."""

    shape: Shape = Circle()
    more: tuple[Shape, ...] = ()


def instances() -> Iterator[Choice]:
    """One of each member of the library; toys that other tests define come and go."""
    for family in FAMILIES:
        for name, make in family.members().items():
            if make.__module__.startswith("snnguard."):
                yield make(**NEEDED.get(name, {}))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
def test_every_member_survives_json(family: type[Choice]) -> None:
    assert family.members()
    for name, make in family.members().items():
        value = make(**NEEDED.get(name, {}))
        data = value.to_json()
        assert next(iter(data)) == "kind"
        again = family.parse(data)
        assert again == value
        assert type(again) is type(value)
        assert again.to_json() == data
        assert hash(again) == hash(value)
        if name not in NEEDED:
            assert family.parse(name) == value
        assert family.parse(value) is value


def test_every_built_in_recipe_survives_json() -> None:
    for name in sg.recipes.names():
        recipe = sg.recipes.get(name)
        assert type(recipe).parse(recipe.to_json()) == recipe


@pytest.mark.parametrize("value", [Network(), Training(), Data(), sg.evaluation.suite("paper")], ids=lambda v: type(v).__name__)
def test_plain_choices_survive_json(value: Choice) -> None:
    data = value.to_json()
    assert "kind" not in data
    assert type(value).parse(data) == value


def test_a_deep_value_survives_json() -> None:
    network = Network(
        name="vgg4-tiny", steps=3, neuron=nlif(sigma=0.1, decay=0.5, reset="subtract", surrogate=ATan(alpha=3.0)),
        encoder=sg.encoders.Poisson(), residual="sum",
    )  # fmt: skip
    again = Network.parse(network.to_json())
    assert again == network
    assert again.neuron.traits == (MembraneNoise(sigma=0.1),)
    assert isinstance(again.neuron.surrogate, ATan)


def test_values_differ_between_kinds_with_equal_fields() -> None:
    assert Linf(eps=0.1) != L2(eps=0.1)
    assert LIF() != LIF(decay=0.5)
    assert LIF() == LIF(decay=1.0)


@pytest.mark.parametrize("value", list(instances()), ids=lambda v: v.kind)
def test_frozen(value: Choice) -> None:
    for field in type(value).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(value, field, getattr(value, field))


@pytest.mark.parametrize("value", list(instances()), ids=lambda v: v.kind)
def test_extra_fields_are_refused(value: Choice) -> None:
    data = value.to_json() | {"no_such_field": 1}
    with pytest.raises(InvalidRecipe, match=r"no_such_field: no such field"):
        type(value).parse(data)
    with pytest.raises(InvalidRecipe, match="no_such_field"):
        type(value).family().parse(data)


def test_positional_arguments_are_refused() -> None:
    with pytest.raises(TypeError):
        LIF(1.0)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("wrong", "right"), [("triangel", "triangle"), ("Sigmoid", "sigmoid"), ("super-spike", "superspike"), ("atan2", "atan")]
)
def test_the_nearest_name_is_suggested(wrong: str, right: str) -> None:
    with pytest.raises(UnknownName, match=f"unknown surrogate '{wrong}'; did you mean .*'{right}'"):
        Surrogate.lookup(wrong)
    with pytest.raises(InvalidRecipe, match=f"did you mean .*'{right}'"):
        Surrogate.parse(wrong)


def test_a_far_name_lists_all() -> None:
    with pytest.raises(UnknownName, match=r"known: box, circle, disc$"):
        Shape.lookup("qqqqqqq")


@pytest.mark.parametrize(
    ("data", "where"),
    [
        ({"neuron": {"kind": "lif", "surrogate": {"kind": "triangle", "gamma": -1}}}, "neuron.surrogate.gamma: "),
        ({"neuron": {"kind": "lif", "surrogate": {"kind": "triangel"}}}, "neuron.surrogate: unknown surrogate 'triangel'"),
        ({"neuron": {"kind": "lif", "surrogate": "triangel"}}, "neuron.surrogate: unknown surrogate"),
        ({"neuron": {"kind": "nlif", "sigma": -0.1}}, "neuron.sigma: "),
        ({"neuron": {"decay": 2}}, "neuron.decay: "),
        ({"neuron": {"kind": "lif", "leak": 2}}, "neuron.leak: no such field"),
        ({"neuron": {"kind": "lif", "threshold": "high"}}, "neuron.threshold: "),
        ({"neuron": 3}, "neuron: "),
        ({"steps": 0}, "steps: "),
        ({"steps": 2.5}, "steps: "),
        ({"name": "vgg12"}, "name: unknown network 'vgg12'; did you mean"),
        ({"tdbn_alpha": float("nan")}, "tdbn_alpha: "),
        ({"tdbn_alpha": float("inf")}, "tdbn_alpha: "),
        ({"encoder": {"kind": "poison"}}, "encoder: unknown encoder 'poison'; did you mean 'poisson'?"),
        ({"residual": "convexx"}, "residual: "),
    ],
)  # fmt: skip
def test_a_fault_names_its_path(data: dict[str, object], where: str) -> None:
    with pytest.raises(InvalidRecipe) as caught:
        Network.parse(data)
    assert any(line.startswith(where) for line in str(caught.value).splitlines()), str(caught.value)
    assert isinstance(caught.value, RequestError)
    assert isinstance(caught.value, ValueError)


def test_the_path_of_a_fault_in_a_list() -> None:
    with pytest.raises(InvalidRecipe, match=r"^more\.1\.radius: ") as caught:
        Scene.parse({"more": [{"kind": "circle"}, {"kind": "circle", "radius": 0}]})
    assert "0" in str(caught.value)
    with pytest.raises(InvalidRecipe, match=r"^more\.0: unknown shape 'sircle'; did you mean 'circle'"):
        Scene.parse({"more": ["sircle"]})


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(InvalidRecipe) as caught:
        Network.parse({"steps": 0, "tdbn_alpha": -1, "wheels": 4})
    assert sorted(line.split(":")[0] for line in str(caught.value).splitlines()) == ["steps", "tdbn_alpha", "wheels"]


def test_polymorphic_fields_take_a_name_a_dict_or_an_instance() -> None:
    assert Scene(shape="box").shape == Box()  # type: ignore[arg-type]
    assert Scene.parse({"shape": "box"}).shape == Box()
    assert Scene.parse({"shape": {"kind": "box", "width": 3}}).shape == Box(width=3)
    assert Scene(shape=Box(width=3)).shape == Box(width=3)
    assert Scene.parse({"shape": {"kind": "disc", "size": 5}}).shape == Circle(radius=5)
    assert Scene.parse({"more": ["box", {"kind": "circle"}, "disc"]}).more == (Box(), Circle(), Circle(radius=2))
    nested = Scene(shape=Box(inside=Box(inside=Circle(radius=7))))
    assert Scene.parse(nested.to_json()) == nested


def test_an_instance_in_a_field_is_kept() -> None:
    circle = Circle(radius=4)
    assert Scene(shape=circle).shape is circle


def test_a_member_of_another_family_is_refused() -> None:
    with pytest.raises(InvalidRecipe, match=r"^shape: "):
        Scene.parse({"shape": Linf(eps=0.1)})
    with pytest.raises(InvalidRecipe, match="unknown shape 'linf'"):
        Scene.parse({"shape": "linf"})


def test_a_member_beside_the_asked_class_is_refused() -> None:
    with pytest.raises(InvalidRecipe, match="'triangle' is no Sigmoid"):
        Sigmoid.parse({"kind": "triangle"})
    assert LIF.parse({"kind": "nlif"}).traits == (MembraneNoise(),)


def test_a_family_without_a_kind_asks_for_one() -> None:
    with pytest.raises(InvalidRecipe, match=r"which shape\? give a kind: box, circle, disc"):
        Shape.parse({})


def test_named_functions_check_their_arguments() -> None:
    assert Shape.parse("disc") == Circle(radius=2)
    with pytest.raises(InvalidRecipe, match="unknown field 'sise'; did you mean 'size'"):
        Shape.parse({"kind": "disc", "sise": 1})
    with pytest.raises(InvalidRecipe, match="radius"):
        Shape.parse({"kind": "disc", "size": -1})
    assert isinstance(Attack.parse("fgsm"), PGD)


def test_a_kind_given_twice_is_refused() -> None:
    class Pets(Choice):
        pass

    class Cat(Pets, kind="cat"):
        pass

    with pytest.raises(TypeError, match=r"'cat' is already the name of .*Cat"):

        class Dog(Pets, kind="cat"):
            pass

    with pytest.raises(TypeError, match="'cat' is already"):

        @named(Pets, "cat")
        def cat() -> Cat:
            return Cat()

    assert Pets.members() == {"cat": Cat}


def test_a_family_does_not_leak_into_another() -> None:
    seen = {family: set(family.members()) for family in [*FAMILIES, Shape]}
    makers = [set(family.members().values()) for family in seen]
    assert all(a.isdisjoint(b) for a, b in itertools.combinations(makers, 2))
    assert seen[Shape] == {"box", "circle", "disc"}
    for family, names in seen.items():
        for make in family.members().values():
            assert not isinstance(make, type) or issubclass(make, family)
        for other in seen:
            assert other is family or not {id(m) for m in other.members().values()} & {id(family.members()[n]) for n in names}
    assert Choice._members == {}


def test_a_toy_member_is_found_by_name() -> None:
    @final
    class Ramp(Surrogate, kind="toy-ramp"):
        def derivative(self, ubar):  # type: ignore[no-untyped-def]
            return ubar * 0

        def primitive(self, ubar):  # type: ignore[no-untyped-def]
            return ubar * 0

        @property
        def window(self) -> float:
            return 0.0

    try:
        assert Surrogate.lookup("toy-ramp") is Ramp
        assert LIF.parse({"surrogate": "toy-ramp"}).surrogate == Ramp()
        assert BPTT.parse({"surrogate": {"kind": "toy-ramp"}}).surrogate == Ramp()
    finally:
        Surrogate._members.pop("toy-ramp")


def test_discovery_imports_every_file_of_the_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = tmp_path / "toyroot" / "toyroom"
    room.mkdir(parents=True)
    (tmp_path / "toyroot" / "__init__.py").write_text("")
    (room / "__init__.py").write_text("")
    (room / "animal.py").write_text("from snnguard.choice import Choice\nclass Animal(Choice):\n    pass\n")
    (room / "fox.py").write_text("from .animal import Animal\nclass Fox(Animal, kind='fox'):\n    tail: int = 1\n")
    (room / "_private.py").write_text("raise RuntimeError('private modules are not imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        animal = importlib.import_module("toyroot.toyroom.animal").Animal
        assert "toyroot.toyroom.fox" not in sys.modules
        assert list(animal.members()) == ["fox"]
        assert animal.parse({"kind": "fox", "tail": 2}).to_json() == {"kind": "fox", "tail": 2}
        discover("toyroot.toyroom")
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "toyroot"]:
            del sys.modules[name]


def test_text_shows_what_differs_from_the_default() -> None:
    assert str(LIF()) == "lif()"
    assert str(LIF(decay=0.5)) == "lif(decay=0.5)"
    assert str(BPTT(surrogate=Sigmoid())) == "bptt(surrogate=sigmoid())"
    assert str(Triangle(gamma=2)) == "triangle(gamma=2.0)"


def test_the_stack_survives_json() -> None:
    stack = Stack((sg.defenses.MPDSGR(eta=0.3), sg.defenses.REG()))
    again = Defense.parse(stack.to_json())
    assert again == stack
    assert isinstance(again, Stack)
    assert again.parts[0] == sg.defenses.MPDSGR(eta=0.3)
