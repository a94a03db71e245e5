"""From tables to networks: what stands for what at each scale, what is shared, what a request is narrowed to."""

import pytest

from snnguard import recipes, reproduce
from snnguard.defenses import MPDSGR, Stack
from snnguard.encoders import Poisson
from snnguard.errors import InvalidRecipe, RequestError, UnknownName
from snnguard.reproduce import SCALES, Request, Scale, job
from snnguard.reproduce.item import Setting
from snnguard.threat import Linf

ALL = [reproduce.get(name) for name in reproduce.names()]


def request(scale: str = "tiny", **given: object) -> Request:
    return Request(scale=SCALES[scale], **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
def test_every_network_of_every_table_has_a_recipe(scale: Scale) -> None:
    for item in ALL:
        for setting in item.settings:
            recipe = scale.recipe(setting, 3)
            assert recipe.seed == 3
            assert recipes.Recipe.parse(recipe.to_json()) == recipe


def test_the_scale_of_the_paper_is_the_papers() -> None:
    setting = Setting(dataset="cifar100", network="wrn16", steps=2, training="adversarial", method="mpd-sgr")
    recipe = SCALES["paper"].recipe(setting, 4)
    assert (recipe.data.name, recipe.network.name, recipe.network.steps, recipe.seed) == ("cifar100", "wrn16", 2, 4)
    assert (recipe.training.epochs, recipe.training.optimiser.learning_rate) == (300, 0.1)
    assert recipe.threat == Linf(eps=8 / 255)
    assert isinstance(recipe.defense, Stack)
    crafting, regulariser = recipe.defense.parts
    assert (crafting.attack.steps, crafting.threat.eps) == (2, pytest.approx(2 / 255))  # type: ignore[attr-defined]
    assert regulariser == MPDSGR(eta=0.05)
    assert SCALES["paper"].seeds == 5


def test_surrogate_coding_and_eta_reach_the_recipe() -> None:
    setting = Setting(
        dataset="tiny-imagenet", network="vgg16", steps=None, training="vanilla", method="mpd-sgr", encoding="poisson"
    )
    designed = SCALES["paper"].recipe(setting, 0)
    assert designed.network.name == "vgg16"
    assert isinstance(designed.defense.design(designed.network).encoder, Poisson)
    rectangular = Setting(
        dataset="cifar10", network="vgg11", steps=None, training="vanilla", method="reg", surrogate="rectangular"
    )
    assert SCALES["small"].recipe(rectangular, 0).network.neuron.surrogate.kind == "rectangular"
    doubled = Setting(dataset="cifar10", network="vgg11", steps=4, training="vanilla", method="mpd-sgr", eta=0.1)
    plain = Setting(dataset="cifar10", network="vgg11", steps=4, training="vanilla", method="mpd-sgr")
    etas = [SCALES["tiny"].recipe(setting, 0).defense.to_json()["eta"] for setting in (doubled, plain)]
    assert etas[0] == pytest.approx(2 * etas[1])


@pytest.mark.parametrize("method", ["stog", "dlif", "feel", "sr", "mpd-sgr", "reg", "rat"])
def test_small_networks_are_the_built_in_ones_but_for_their_names(method: str) -> None:
    training = "adversarial" if method == "rat" else "vanilla"
    setting = Setting(dataset="cifar10", network="vgg11", steps=8, training=training, method=method)
    assert job.content(SCALES["small"].recipe(setting, 0)) == job.content(recipes.get(f"cifar10-slim-{method}"))


def test_what_does_not_change_the_weights_does_not_change_the_content() -> None:
    recipe = recipes.get("digits-mpd-sgr")
    elsewhere = recipe.model_copy(
        update={
            "name": "other", "data": recipe.data.model_copy(update={"path": "elsewhere", "note": "copied"}),
            "training": recipe.training.model_copy(update={"device": "cpu", "checkpoint_seconds": 5.0}),
        }
    )  # fmt: skip
    assert job.content(elsewhere) == job.content(recipe)
    shortened = recipe.training.model_copy(update={"max_steps": 3})
    for changed in (
        {"training": shortened},
        {"seed": 1},
        {"threat": Linf(eps=0.2)},
        {"network": recipe.network.model_copy(update={"steps": 5})},
    ):
        assert job.content(recipe.model_copy(update=changed)) != job.content(recipe)


def test_tables_share_their_networks() -> None:
    chosen = [reproduce.choose(reproduce.get(f"mpd-sgr/{name}"), request("paper")) for name in ("table-2", "figure-2")]
    alone = [len(reproduce.jobs([one])) for one in chosen]
    together = reproduce.jobs(chosen)
    assert alone == [80, 40]  # five seeds each
    assert len(together) == 80
    assert sum(len(one.judgements) == 3 for one in together) == 40  # of both tables and spike


def test_what_a_scale_cannot_tell_apart_is_run_and_shown_once() -> None:
    item = reproduce.get("mpd-sgr/table-1")
    assert len(item.cells) == 96
    tiny = reproduce.choose(item, request())
    assert len(tiny.item.cells) == 48  # both data sets are digits there
    assert {cell.setting.dataset for cell in tiny.item.cells} == {"cifar10"}
    assert all(claim.whole for claim in tiny.item.claims)
    assert all(pair.more in tiny.item.cells for claim in tiny.item.claims for pair in claim.pairs)


def test_one_seed_of_all_networks_comes_before_the_next() -> None:
    asked = reproduce.jobs([reproduce.choose(reproduce.get("mpd-sgr/table-1"), request(seeds=(0, 4)))])
    assert [one.recipe.seed for one in asked] == [0] * 12 + [4] * 12
    assert len({one.name for one in asked}) == 24


def test_substitutes_are_trained_where_images_are_transferred() -> None:
    for name, wanted in (("figure-3", ("twin",)), ("table-s3", ("twin",)), ("table-1", ())):
        asked = reproduce.jobs([reproduce.choose(reproduce.get(f"mpd-sgr/{name}"), request())])
        assert {one.substitutes for one in asked} == {wanted}, name


def test_a_request_is_narrowed() -> None:
    item = reproduce.get("mpd-sgr/table-1")
    only = {"method": ("reg", "mpd-sgr"), "training": ("vanilla",), "attack": ("pgd7",), "dataset": ("cifar10",)}
    chosen = reproduce.choose(item, request("paper", only=only, seeds=(1,)))
    assert [(c.setting.method, c.attack) for c in chosen.item.cells] == [
        ("reg", "clean"), ("reg", "pgd7"), ("mpd-sgr", "clean"), ("mpd-sgr", "pgd7"),
    ]  # fmt: skip
    assert [(len(claim.pairs), claim.whole) for claim in chosen.item.claims] == [(1, False)]
    with pytest.raises(UnknownName, match="did you mean 'mpd-sgr'"):
        reproduce.choose(item, request(only={"method": ("mpdsgr",)}))
    with pytest.raises(RequestError, match="no cell with training vanilla, method rat together"):
        reproduce.choose(item, request(only={"training": ("vanilla",), "method": ("rat",)}))


def test_settings_change_every_recipe() -> None:
    chosen = reproduce.choose(reproduce.get("tgo/figure-proximal"), request(settings=("training.epochs=2",)))
    assert {recipe.training.epochs for recipe in chosen.recipes.values()} == {2}
    with pytest.raises(InvalidRecipe, match="no such field"):
        reproduce.choose(reproduce.get("tgo/figure-proximal"), request(settings=("training.epoch=2",)))
