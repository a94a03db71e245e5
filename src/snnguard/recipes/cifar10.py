"""Recipes on CIFAR-10: the papers' networks and settings, and a five-layer network that a CPU can train."""

from snnguard.data import Data
from snnguard.defenses import MPDSGR, REG, TGO, AdversarialTraining, Defense, Stack, rat, tgo_mc, tgo_nlif
from snnguard.networks import Network
from snnguard.threat import Linf
from snnguard.training import SGD, Training

from .recipe import Recipe, recipe

DEFENSES: dict[str, Defense] = {
    "undefended": Stack(),
    "mpd-sgr": MPDSGR(),
    "tgo": TGO(),
    "tgo-mc": tgo_mc(),
    "tgo-nlif": tgo_nlif(),
    "at": AdversarialTraining(),
    "at-mpd-sgr": Stack(parts=(AdversarialTraining(), MPDSGR())),
    "at-tgo": Stack(parts=(AdversarialTraining(), TGO())),
    "reg": REG(),
    "rat": rat(),
    "rat-mpd-sgr": Stack(parts=(rat(), MPDSGR())),
}


def _paper(network: Network, name: str, defense: Defense) -> Recipe:
    """300 epochs of SGD at 0.1 with a cosine. SOURCE: METHODS 4.1 (batch, momentum, weight decay: FEEL's, same lab)."""
    return Recipe(
        name=f"cifar10-{network.name}-{name}", data=Data(name="cifar10"), network=network, defense=defense,
        training=Training(epochs=300, batch_size=128), threat=Linf(eps=8 / 255),
    )  # fmt: skip


def _slim(name: str, defense: Defense) -> Recipe:
    """10,000 images, 8 epochs: minutes on two cores. A trial, not a reproduction."""
    return Recipe(
        name=f"cifar10-slim-{name}",
        data=Data(name="cifar10", train_size=10_000, validation_size=1_000, test_size=1_000),
        network=Network(name="vgg5-slim", steps=4),
        defense=defense,
        training=Training(epochs=8, batch_size=64, optimiser=SGD(learning_rate=0.05), label_smoothing=0.0),
        threat=Linf(eps=8 / 255),
    )


for _name, _defense in DEFENSES.items():
    recipe(lambda name=_name, defense=_defense: _paper(Network(name="vgg11", steps=8), name, defense))
    recipe(lambda name=_name, defense=_defense: _paper(Network(name="wrn16", steps=8), name, defense))
    recipe(lambda name=_name, defense=_defense: _slim(name, defense))
