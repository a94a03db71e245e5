"""Recipes on CIFAR-10: the papers' networks and settings, and a five-layer network that a CPU can train."""

from snnguard.data import Data
from snnguard.defenses import MPDSGR, REG, TGO, AdversarialTraining, Defense, Stack, rat, tgo_mc, tgo_nlif
from snnguard.networks import Network
from snnguard.threat import Linf
from snnguard.training import SGD, Training

from .recipe import Recipe, recipe


def _defenses(*, eta: float, lambda_max: float) -> dict[str, Defense]:
    """The defenses by their names in a recipe, with the weights of MPD-SGR and of TGO's constraint."""
    at, mpd_sgr, tgo = AdversarialTraining(), MPDSGR(eta=eta), TGO(lambda_max=lambda_max)
    return {
        "undefended": Stack(),
        "mpd-sgr": mpd_sgr,
        "tgo": tgo,
        "tgo-mc": tgo_mc(lambda_max=lambda_max),
        "tgo-nlif": tgo_nlif(),
        "at": at,
        "at-mpd-sgr": Stack(parts=(at, mpd_sgr)),
        "at-tgo": Stack(parts=(at, tgo)),
        "reg": REG(),
        "rat": rat(),
        "rat-mpd-sgr": Stack(parts=(rat(), mpd_sgr)),
    }


PAPER_ETA, PAPER_LAMBDA = 0.05, {"vgg11": 0.6, "wrn16": 0.4}
"""SOURCE: MPD-SGR's appendix C; TGO's two upper bounds."""

SHORT_WEIGHTS = _defenses(eta=1.0, lambda_max=2.0)
"""For 8 epochs; chosen on the validation split, see docs/results.md."""


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
        training=Training(epochs=8, batch_size=64, optimiser=SGD(learning_rate=0.05)),
        threat=Linf(eps=8 / 255),
    )


for _network, _lambda in PAPER_LAMBDA.items():
    for _name, _defense in _defenses(eta=PAPER_ETA, lambda_max=_lambda).items():
        recipe(lambda net=_network, name=_name, defense=_defense: _paper(Network(name=net, steps=8), name, defense))
for _name, _defense in SHORT_WEIGHTS.items():
    recipe(lambda name=_name, defense=_defense: _slim(name, defense))
