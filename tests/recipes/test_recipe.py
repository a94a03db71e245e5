"""Recipes as values: built in, from a file, with overrides; and what a wrong one is told."""

import tomllib
from pathlib import Path

import pytest

from snnguard import recipes
from snnguard.attacks import PGD
from snnguard.data import Augmentation, Data
from snnguard.defenses import MPDSGR, TGO, AdversarialTraining, Stack
from snnguard.encoders import Encoder
from snnguard.errors import InvalidRecipe, RequestError, UnknownName
from snnguard.networks import Network
from snnguard.neurons import LIF, ATan
from snnguard.recipes import Recipe
from snnguard.threat import L2
from snnguard.training import SGD, AdamW, Training

FULL = Recipe(
    name="full", data=Data(name="images", path="somewhere", train_size=5, note="é \"quoted\""),
    augmentation=Augmentation(crop=2, flip=True), seed=7, threat=L2(eps=0.5, low=-1.0),
    network=Network(name="wrn16", steps=3, neuron=LIF(decay=0.5, surrogate=ATan(alpha=3.0)), encoder=Encoder.parse("poisson"),
                    residual="convex"),
    defense=Stack((AdversarialTraining(attack=PGD(steps=3, step_size=0.1), threat=L2(eps=0.1)), MPDSGR(gamma=0.3), TGO())),
    training=Training(epochs=2, optimiser=AdamW(learning_rate=1e-3), warmup_epochs=0.5, clip_norm=1.0, max_steps=9),
)  # fmt: skip


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_comes_back_from_json_and_toml(name: str, tmp_path: Path) -> None:
    recipe = recipes.get(name)
    assert recipe.name == name
    assert Recipe.parse(recipe.to_json()) == recipe
    (tmp_path / "r.toml").write_text(recipe.to_toml())
    assert recipes.read(str(tmp_path / "r.toml")) == recipe == recipes.read(name)
    assert recipe.defense.design(recipe.network) == recipe.defense.design(recipe.network)
    assert hash(recipe) == hash(recipes.get(name))


def test_everything_that_can_be_said_comes_back(tmp_path: Path) -> None:
    assert Recipe.parse(FULL.to_json()) == FULL
    (tmp_path / "r.toml").write_text(FULL.to_toml(), encoding="utf-8")
    assert recipes.read(str(tmp_path / "r.toml")) == FULL
    assert tomllib.loads(FULL.to_toml())["network"]["neuron"]["surrogate"]["kind"] == "atan"


def test_a_file_may_be_short_and_use_bare_names(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('name = "x"\ndefense = "mpd-sgr"\n[training]\noptimiser = "adamw"\n')
    found = recipes.read(str(path), ["defense.eta=1"])
    assert found.defense == MPDSGR(eta=1)
    assert found.training.optimiser == AdamW()
    assert found.network == Recipe(name="x").network


def changed(name: str, *overrides: str) -> Recipe:
    return recipes.read(name, overrides)


def test_overrides() -> None:
    assert changed("digits-at", "training.epochs=3").training.epochs == 3
    assert changed("digits-at", "threat.eps=8/255").threat.eps == 8 / 255
    assert changed("digits-at", "threat.eps=0.5", "threat.eps=0.25").threat.eps == 0.25
    assert changed("digits-at", "training.optimiser=sgd").training.optimiser == SGD()
    assert changed("digits-at", "defense=mpd-sgr", "defense.eta=1e-1").defense == MPDSGR(eta=0.1)
    assert changed("digits-at", "network.neuron.surrogate=atan", "network.neuron.surrogate.alpha=3").network.neuron == LIF(
        surrogate=ATan(alpha=3)
    )
    assert changed("digits-at-mpd-sgr", "defense.parts.1.eta=7").defense.parts[1] == MPDSGR(eta=7)
    assert changed("digits-at-mpd-sgr", "defense.parts.1=tgo").defense.parts[1] == TGO()
    assert changed("digits-at-mpd-sgr", "defense.parts.0.threat.eps=1/255").defense.parts[0].threat.eps == 1 / 255
    assert changed("digits-at", "augmentation.flip=true").augmentation == Augmentation(flip=True)
    assert changed("digits-at", "training.clip_norm=1", "training.clip_norm=null").training.clip_norm is None
    assert changed("digits-at", 'threat={"kind": "l2", "eps": 1}').threat == L2(eps=1)
    assert changed("digits-at", "data.note=a=b c").data.note == "a=b c"
    assert changed("digits-at", "name=mine").name == "mine"
    assert changed("digits-at", "data.note=1/2/3").data.note == "1/2/3"


def test_overrides_leave_the_source_alone() -> None:
    data = recipes.get("digits-at-mpd-sgr").to_json()
    recipes.overridden(data, ["defense.parts.1.eta=7", "threat.eps=1", "augmentation.flip=true"])
    assert data == recipes.get("digits-at-mpd-sgr").to_json()


@pytest.mark.parametrize(
    ("override", "where", "found", "allowed"),
    [
        ("training.epochs=three", "training.epochs", "'three'", "integer"),
        ("training.epochs=2.5", "training.epochs", "2.5", "integer"),
        ("training.epochs=0", "training.epochs", "0", "greater than 0"),
        ("threat.eps=-1", "threat.eps", "-1", "greater than or equal to 0"),
        ("threat.eps=NaN", "threat.eps", "nan", "finite"),
        ("threat.eps=1/0", "threat.eps", "'1/0'", "number"),
        ("threat=l3", "threat", "'l3'", "did you mean 'l2'"),
        ("defense=mpd-sgrr", "defense", "'mpd-sgrr'", "did you mean 'mpd-sgr'"),
        ("defense.parts.0.attack=pdg", "defense.parts.0.attack", "'pdg'", "did you mean 'pgd'"),
        ("network.name=vgg4-tinny", "network.name", "'vgg4-tinny'", "did you mean 'vgg4-tiny'"),
        ("network.neuron.surrogate=triangel", "network.neuron.surrogate", "'triangel'", "did you mean 'triangle'"),
        ("data.name=digit", "data", "'digit'", "did you mean 'digits'"),
        ("training.precision=fp16", "training.precision", "'fp16'", "'32-true' or 'bf16-mixed'"),
        ("defense.parts.1.eta=no", "defense.parts.1.eta", "'no'", "number"),
        ("defense.parts.9=tgo", "defense.parts.9", "", "entries 0 to 1"),
        ("defense.parts.x=tgo", "defense.parts.x", "", "entries 0 to 1"),
        ("defense.parts.-1=tgo", "defense.parts.-1", "", "entries 0 to 1"),
        ("training.epochs.x=3", "training.epochs.x", "20", "no fields"),
        ("training", "", "'training'", "looks like training.epochs=3"),
        ("=3", "", "'=3'", "looks like training.epochs=3"),
        ("training.optimiser=5", "training.optimiser", "5", "Optimiser"),
    ],
)
def test_a_wrong_override_is_told_where_what_and_what_else(override: str, where: str, found: str, allowed: str) -> None:
    with pytest.raises(RequestError) as caught:
        recipes.read("digits-at-mpd-sgr", [override])
    said = str(caught.value)
    assert isinstance(caught.value, InvalidRecipe | UnknownName)
    assert where in said
    assert found in said
    assert allowed in said


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.epoch=3", "did you mean 'epochs'"),
        ("trainng.epochs=3", "did you mean 'training'"),
        ("defense.parts.9.eta=1", "entries 0 to 1"),
    ],
)
def test_a_wrong_place_is_told_what_there_is(override: str, said: str) -> None:
    with pytest.raises(RequestError) as caught:
        recipes.read("digits-at-mpd-sgr", [override])
    assert said in str(caught.value)
    assert len(str(caught.value)) < 300


def test_another_kind_starts_from_its_own_defaults() -> None:
    assert changed("digits-at", "training.optimiser.kind=sgd").training.optimiser == SGD()


def test_several_faults_are_told_at_once() -> None:
    with pytest.raises(InvalidRecipe) as caught:
        recipes.read("digits-at", ["training.epochs=0", "threat.eps=-1"])
    assert "training.epochs" in str(caught.value)
    assert "threat.eps" in str(caught.value)


def test_an_unknown_recipe() -> None:
    with pytest.raises(UnknownName, match=r"unknown recipe 'digits-mpd-sg'; did you mean 'digits-mpd-sgr'.*TOML file"):
        recipes.read("digits-mpd-sg")


def test_conflicting_defenses_are_refused_as_a_recipe() -> None:
    with pytest.raises(RequestError, match="'mpd-sgr' stands 2 times"):
        recipes.read("digits-at-mpd-sgr", ["defense.parts.0=mpd-sgr"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"name = ", "not readable as TOML"),
        (b'name = "x"\nname = "y"', "not readable as TOML"),
        (b"\xff\xfe", "not readable as TOML"),
        (b"", "name"),
        (b'name = ""', "name"),
        (b'name = "x"\n[trainig]\nepochs = 3', "trainig|unknown field"),
        (b'name = "x"\ndefense = 3', "defense"),
    ],
)
def test_a_wrong_file(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_bytes(content)
    with pytest.raises(InvalidRecipe, match=said):
        recipes.read(str(path))


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipe, match=r"no recipe file .*none\.toml"):
        recipes.read(str(tmp_path / "none.toml"))
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(InvalidRecipe, match="not readable as TOML"):
        recipes.read(str(tmp_path / "folder.toml"))


def test_a_field_of_a_part_is_not_one_of_the_stack() -> None:
    with pytest.raises(InvalidRecipe, match=r"sigma belongs to one of them; defense\.parts\.0 is at, defense\.parts\.1 is tgo"):
        recipes.read("digits-at-tgo", ["defense.sigma=0.1"])
    assert recipes.read("digits-at-tgo", ["defense.parts.1.sigma=0.1"]).defense.to_json()["parts"][1]["sigma"] == 0.1
    with pytest.raises(InvalidRecipe, match=r"network\.neuron\.traits\.0: the list is empty"):
        recipes.read("digits-tgo", ["network.neuron.traits.0.sigma=1"])
