"""Scales: what a network of a paper becomes where there are no weeks on a GPU, or no CIFAR.

`paper` is the papers' setting. The smaller ones stand in for it: every recipe of theirs is a built-in one, tuned on its own
validation split where a defense needs it, and what they cannot tell apart is run and shown once.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from snnguard import recipes
from snnguard.choice import unknown
from snnguard.defenses import MPDSGR, Defense, Stack
from snnguard.errors import UnknownName
from snnguard.neurons import Surrogate
from snnguard.recipes import Recipe

from .item import Setting

CRAFTED = {"adversarial": "at", "at": "at", "rat": "rat"}
"""Kinds of training by the name of the recipe that crafts images like that."""

METHODS = {
    "vanilla": "undefended", "none": "undefended", "at": "undefended", "mc": "tgo-mc", "nlif": "tgo-nlif", "mc+nlif": "tgo",
    "sr+at": "sr", "tgo+at": "tgo",
}  # fmt: skip
"""Words of the tables by our names, where they differ."""

PAPER_ETA = 0.05
UNSTATED_STEPS = 4


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How far the papers' settings are cut down. `data`, `networks` and `steps` say what stands for what.

    `images` are judged by the table's own attacks, `spike_images` by `spike`; None is the whole test split. Where `spike` has
    fewer steps or queries than its 100 and 5,000 it is a weaker judge, and the description says so.
    """

    name: str
    description: str
    recipes: str
    data: Mapping[str, str]
    networks: Mapping[str, str]
    steps: Mapping[int, int]
    seeds: int
    images: int | None
    spike_images: int
    spike_steps: int = 100
    spike_queries: int = 5000

    def recipe(self, setting: Setting, seed: int) -> Recipe:
        """The recipe that stands for a network of a paper, under a name of its own."""
        base = self._built_in(setting, "undefended")
        steps = setting.steps or UNSTATED_STEPS
        network = base.network.model_copy(
            update={"name": self.networks.get(setting.network, setting.network), "steps": self.steps.get(steps, steps)}
        )
        if setting.surrogate not in ("", "triangle"):
            neuron = network.neuron.model_copy(update={"surrogate": Surrogate.parse(setting.surrogate)})
            network = network.model_copy(update={"neuron": neuron})
        data = base.data.model_copy(update={"name": self.data.get(setting.dataset, setting.dataset)})
        defense = self._defense(setting)
        made = self._built_in(setting, METHODS.get(setting.method, setting.method))
        return base.model_copy(
            update={"data": data, "network": network, "defense": defense, "seed": seed, "training": made.training}
        )

    def _defense(self, setting: Setting) -> Defense:
        method, crafted = METHODS.get(setting.method, setting.method), CRAFTED.get(setting.training)
        if crafted is None or method == "rat":
            found = self._built_in(setting, method).defense
        elif method == "undefended":
            found = self._built_in(setting, crafted).defense
        elif crafted == "at":
            found = self._built_in(setting, f"at-{method}").defense
        else:
            found = Stack(parts=(self._built_in(setting, crafted).defense, self._built_in(setting, method).defense))
        if setting.eta is not None:
            found = with_eta(found, setting.eta / PAPER_ETA)
        if setting.encoding != "direct":
            found = Stack(parts=(Defense.parse(setting.encoding), found))
        return found

    def _built_in(self, setting: Setting, name: str) -> Recipe:
        return recipes.get(f"{self.recipes}-{name}".format(network="wrn16" if setting.network == "wrn16" else "vgg11"))


def with_eta(defense: Defense, factor: float) -> Defense:
    """The defense with MPD-SGR's coefficient multiplied, wherever it has one."""
    if isinstance(defense, Stack):
        return Stack(parts=tuple(with_eta(part, factor) for part in defense.parts))
    if isinstance(defense, MPDSGR):
        return defense.model_copy(update={"eta": defense.eta * factor})
    return defense


@dataclass(frozen=True, kw_only=True)
class PaperScale(Scale):
    """The papers' own: every network of MPD-SGR trains for its 300 epochs, as long as the other methods' papers or longer."""

    epochs: int = 300
    batch_size: int = 256

    def recipe(self, setting: Setting, seed: int) -> Recipe:
        """SOURCE: MPD-SGR, supplement D: 300 epochs, SGD at 0.1 with a cosine, all results over five runs. DEVIATION: the
        batch is not stated; it is FEEL's, of the same laboratory. TGO's length is not public and taken as the same."""
        made = super().recipe(setting, seed)
        length = {"epochs": self.epochs, "batch_size": self.batch_size}
        return made.model_copy(update={"training": made.training.model_copy(update=length)})


SCALES: dict[str, Scale] = {
    "paper": PaperScale(
        name="paper", description="the papers' setting: 300 epochs, five seeds, the whole test split",
        recipes="cifar10-{network}", data={}, networks={}, steps={}, seeds=5, images=None, spike_images=1000,
    ),
    "small": Scale(
        name="small", description="CIFAR-10, 10,000 training images, 8 epochs, VGG5-slim; T = 8 becomes 4",
        recipes="cifar10-slim", data={"cifar100": "cifar10", "tiny-imagenet": "cifar10"},
        networks=dict.fromkeys(("vgg11", "wrn16", "vgg16"), "vgg5-slim"), steps={8: 4}, seeds=2, images=200, spike_images=50,
    ),
    "tiny": Scale(
        name="tiny",
        description="8x8 digits at eps = 32/255, 20 epochs, VGG4-tiny; T = 8 becomes 4; spike of 20 steps and 500 queries",
        recipes="digits", data={"cifar10": "digits", "cifar100": "digits", "tiny-imagenet": "digits"},
        networks=dict.fromkeys(("vgg11", "wrn16", "vgg16"), "vgg4-tiny"), steps={8: 4}, seeds=2, images=128, spike_images=48,
        spike_steps=20, spike_queries=500,
    ),
}  # fmt: skip


def get(name: str) -> Scale:
    """The scale called `name`. Raises `UnknownName` with the nearest names."""
    if name not in SCALES:
        raise UnknownName(unknown("scale", name, SCALES))
    return SCALES[name]
