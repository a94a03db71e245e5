"""Recipes on the digits that come with scikit-learn: 8x8 images, minutes of training, no download."""

from snnguard.attacks import PGD
from snnguard.data import Data
from snnguard.defenses import MPDSGR, AdversarialTraining, Defense
from snnguard.networks import Network
from snnguard.threat import Linf
from snnguard.training import AdamW, Training

from .recipe import Recipe, recipe
from .variants import variants

EPS = 32 / 255
"""The radius at which digits are judged: 8x8 strokes stay readable, an undefended network does not stay right."""

CRAFTED = AdversarialTraining(attack=PGD(steps=2, step_fraction=0.5), threat=Linf(eps=EPS))

TUNED: dict[str, Defense] = {"mpd-sgr": MPDSGR(eta=0.4)}
"""Chosen on the validation split: MPD-SGR's eta from 0.05, 0.1, 0.2, 0.4, 1 (the paper's 0.05 is for 300 epochs)."""

TUNED_AT: dict[str, Defense] = {"mpd-sgr": MPDSGR(eta=0.05)}
"""The same after adversarial training, eta from 0.05, 0.1, 0.2, 0.4."""


def _digits(name: str, defense: Defense) -> Recipe:
    training = Training(epochs=20, batch_size=64, optimiser=AdamW(learning_rate=5e-3))
    return Recipe(
        name=f"digits-{name}", data=Data(name="digits"), network=Network(name="vgg4-tiny", steps=4),
        defense=defense, training=training, threat=Linf(eps=EPS),
    )  # fmt: skip


for _name, _defense in variants(training=CRAFTED, tuned=TUNED, tuned_at=TUNED_AT).items():
    recipe(lambda name=_name, defense=_defense: _digits(name, defense))
