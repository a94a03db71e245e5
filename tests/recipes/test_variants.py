"""Every defense has recipes under its name, alone and after adversarial training where that has a meaning."""

import pytest

from snnguard import recipes
from snnguard.attacks import PGD
from snnguard.defenses import MPDSGR, TRADES, AdversarialTraining, Defense, Stack, rat
from snnguard.recipes.variants import crafting, defense_names, variants
from snnguard.threat import Linf

NAMED = """
mpd-sgr tgo tgo-mc tgo-nlif at reg rat stog dlif feel sr rsc poisson tgo-adaptive distill inflor recdis rmp
dspike lsg asgl ndl hire plif trades mart awp ema hosnn smoothing label-smoothing mixup soft-reset im-loss
""".split()  # noqa: SIM905


@pytest.mark.parametrize("family", ["digits", "cifar10-vgg11", "cifar10-wrn16", "cifar10-slim"])
@pytest.mark.parametrize("name", NAMED)
def test_every_defense_has_its_recipe(family: str, name: str) -> None:
    recipe = recipes.get(f"{family}-{name}")
    assert recipe.name == f"{family}-{name}"
    kinds = [part.kind for part in recipe.defense.parts] if isinstance(recipe.defense, Stack) else [recipe.defense.kind]
    wanted = Defense.parse(name)
    assert kinds == ([part.kind for part in wanted.parts] if isinstance(wanted, Stack) else [wanted.kind])
    assert recipes.Recipe.parse(recipe.to_json()) == recipe


def test_names_are_those_of_the_registry() -> None:
    assert set(NAMED) <= set(defense_names())


def test_after_adversarial_training_where_the_stack_allows_it() -> None:
    found = variants(training=AdversarialTraining())
    assert found["undefended"] == Stack()
    assert found["at-mpd-sgr"] == Stack(parts=(AdversarialTraining(), MPDSGR()))
    for twice in ("at-at", "at-rat", "at-trades", "at-mart"):
        assert twice not in found
    assert "at-stog" in found


def test_tuned_settings_win() -> None:
    found = variants(training=AdversarialTraining(), tuned={"mpd-sgr": MPDSGR(eta=3)}, tuned_at={"mpd-sgr": MPDSGR(eta=2)})
    assert found["mpd-sgr"] == MPDSGR(eta=3)
    assert found["at-mpd-sgr"].parts[1] == MPDSGR(eta=2)  # type: ignore[attr-defined]


def test_whoever_crafts_images_crafts_them_for_the_same_threat() -> None:
    attack, threat = PGD(steps=3), Linf(eps=0.1)
    crafted = crafting(TRADES(beta=2), attack, threat)
    assert crafted == TRADES(beta=2, attack=attack, threat=threat)
    assert crafting(MPDSGR(), attack, threat) == MPDSGR()
    assert crafting(rat(), attack, threat) == rat(attack=attack, threat=threat)
