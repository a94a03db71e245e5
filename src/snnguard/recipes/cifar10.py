"""Recipes on CIFAR-10: the papers' networks and settings, and a five-layer network that a CPU can train."""

from snnguard.data import Data
from snnguard.defenses import FEEL, MPDSGR, TGO, AdaptiveTGO, AdversarialTraining, Defense, Stack, rat, tgo_mc
from snnguard.networks import Network
from snnguard.threat import Linf
from snnguard.training import SGD, Training

from .recipe import Recipe, recipe
from .variants import variants

PAPER_LAMBDA = {"vgg11": 0.6, "wrn16": 0.4}
"""SOURCE: TGO's two upper bounds of lambda. Everything else has its paper's value as its default."""

LENGTHS = {
    **dict.fromkeys(("at", "reg", "rat", "stog"), (200, 64)),
    "sr": (200, 32),
    "dlif": (100, 64),
    "feel": (300, 256),
    **dict.fromkeys(("mpd-sgr", "rat-mpd-sgr"), (300, 256)),
}
"""Epochs and batch of the published runs. SOURCE: METHODS 4.1; the batch of MPD-SGR is FEEL's, of the same lab. The others
have 300 and 128."""

STEPS = dict.fromkeys(("tgo", "tgo-mc", "tgo-nlif", "tgo-adaptive", "tgo-distill"), 4)
"""Time steps of the published runs, where they are not 8."""

SHORT = {
    "mpd-sgr": MPDSGR(eta=1.0),
    "tgo": TGO(lambda_max=2.0),
    "tgo-mc": tgo_mc(lambda_max=2.0),
    "feel": FEEL(leak_start=0.5),
}
"""For 8 epochs; chosen on the validation split, see docs/results.md."""


def _tgo(lambda_max: float) -> dict[str, Defense]:
    adaptive = AdaptiveTGO(lambda_max=lambda_max)
    return {"tgo": TGO(lambda_max=lambda_max), "tgo-mc": tgo_mc(lambda_max=lambda_max), "tgo-adaptive": adaptive}


def _paper(network: str, name: str, defense: Defense) -> Recipe:
    """SGD at 0.1 with a cosine, as long as the paper of the defense trains. SOURCE: METHODS 4.1."""
    bare = name.removeprefix("at-")
    epochs, batch_size = LENGTHS.get(bare, (300, 128))
    return Recipe(
        name=f"cifar10-{network}-{name}", data=Data(name="cifar10"), defense=defense,
        network=Network(name=network, steps=STEPS.get(bare, 8)),
        training=Training(epochs=epochs, batch_size=batch_size), threat=Linf(eps=8 / 255),
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
    _found = variants(training=AdversarialTraining(), tuned=_tgo(_lambda)) | {"rat-mpd-sgr": Stack(parts=(rat(), MPDSGR()))}
    for _name, _defense in _found.items():
        recipe(lambda network=_network, name=_name, defense=_defense: _paper(network, name, defense))
for _name, _defense in variants(training=AdversarialTraining(), tuned=SHORT).items():
    recipe(lambda name=_name, defense=_defense: _slim(name, defense))
