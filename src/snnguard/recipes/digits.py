"""Recipes on the digits that come with scikit-learn: 8x8 images, minutes of training, no download."""

from typing import Any

from snnguard.attacks import PGD
from snnguard.data import Data
from snnguard.defenses import MPDSGR, REG, TGO, AdversarialTraining, Defense, Stack, rat, tgo_mc, tgo_nlif
from snnguard.networks import Network
from snnguard.threat import Linf
from snnguard.training import AdamW, Training

from .recipe import Recipe, recipe

EPS = 32 / 255
"""The radius at which digits are judged: 8x8 strokes stay readable, an undefended network does not stay right."""

CRAFTED = AdversarialTraining(attack=PGD(steps=2, step_fraction=0.5), threat=Linf(eps=EPS))


def _digits(name: str, defense: Defense, **changes: Any) -> Recipe:
    training = Training(epochs=20, batch_size=64, optimiser=AdamW(learning_rate=5e-3), **changes)
    return Recipe(
        name=f"digits-{name}", data=Data(name="digits"), network=Network(name="vgg4-tiny", steps=4),
        defense=defense, training=training, threat=Linf(eps=EPS),
    )  # fmt: skip


@recipe
def undefended() -> Recipe:
    """Plain training."""
    return _digits("undefended", Stack())


@recipe
def mpd_sgr() -> Recipe:
    """MPD-SGR; eta chosen on the validation split from 0.05, 0.1, 0.2, 0.4, 1 (the paper's 0.05 is for 300 epochs)."""
    return _digits("mpd-sgr", MPDSGR(eta=0.4))


@recipe
def tgo() -> Recipe:
    """TGO: membrane constraint and noisy neurons."""
    return _digits("tgo", TGO())


@recipe
def tgo_mc_only() -> Recipe:
    """TGO's membrane constraint alone."""
    return _digits("tgo-mc", tgo_mc())


@recipe
def tgo_nlif_only() -> Recipe:
    """TGO's noisy neurons alone."""
    return _digits("tgo-nlif", tgo_nlif())


@recipe
def at() -> Recipe:
    """Adversarial training with two PGD steps."""
    return _digits("at", CRAFTED)


@recipe
def at_mpd_sgr() -> Recipe:
    """Adversarial training and MPD-SGR; eta chosen on the validation split from 0.05, 0.1, 0.2, 0.4."""
    return _digits("at-mpd-sgr", Stack(parts=(CRAFTED, MPDSGR(eta=0.05))))


@recipe
def reg() -> Recipe:
    """REG, the weight retraction."""
    return _digits("reg", REG())


@recipe
def rat_recipe() -> Recipe:
    """RAT: adversarial training, REG, convex residuals."""
    return _digits("rat", rat(attack=CRAFTED.attack, threat=CRAFTED.threat))
