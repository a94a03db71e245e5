"""The one way to make a network: a frozen description, and a registry of architectures filled by discovery.

An architecture is a function decorated with `@architecture("name")` in any module of this room. It gets a `Plan` and
returns the body: [T or 1, N, C, H, W] to [T, N, K].
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field, field_validator
from torch import nn

from snnguard import rng
from snnguard.choice import Choice, discover, unknown
from snnguard.encoders import Direct, Encoder
from snnguard.errors import RequestError, UnknownName
from snnguard.layers import TDBN, Merge, Normalize, merge
from snnguard.neurons import LIF, Trait, is_unsettled

from .classifier import SpikingClassifier


class Network(Choice):
    """Everything about a network that is not the data set's business. Defenses change it through `design`.

    `residual` None leaves the merge to the architecture; `tdbn_threshold` None takes the neuron's threshold. `input_noise`
    is the standard deviation of Gaussian noise, in raw units, that is added to every image in every call. Without `spiking`
    it is the ANN twin: the same layers with rectified linear units in place of the neurons.
    """

    name: str = "vgg11"
    steps: int = Field(default=4, ge=1)
    spiking: bool = True
    neuron: LIF = LIF()
    encoder: Encoder = Direct()
    input_noise: float = Field(default=0.0, ge=0)
    residual: Merge | None = None
    tdbn_alpha: float = Field(default=1.0, gt=0)
    tdbn_threshold: float | None = Field(default=None, gt=0)

    @field_validator("name")
    @classmethod
    def _exists(cls, name: str) -> str:
        if name not in names():
            raise UnknownName(unknown("network", name, names()))
        return name

    def having(self, trait: Trait) -> "Network":
        """This network with one more trait in its neurons."""
        return self.model_copy(update={"neuron": self.neuron.having(trait)})


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an architecture needs to know; each call of a method makes a fresh module."""

    network: Network
    classes: int
    image_shape: tuple[int, int, int]

    def neuron(self) -> nn.Module:
        if not self.network.spiking:
            return nn.ReLU()
        return self.network.neuron.build(steps=self.network.steps)

    def norm(self, channels: int, *, alpha: float = 1.0) -> nn.Module:
        """tdBN; `alpha` multiplies the network's own, for branches that are summed before they reach a neuron."""
        neuron_threshold, own = self.network.neuron.threshold, self.network.tdbn_threshold
        threshold = neuron_threshold if own is None else own
        return TDBN(channels, alpha=alpha * self.network.tdbn_alpha, threshold=threshold)

    def merge(self, default: Merge) -> nn.Module:
        """The merge of a residual block: the network's, or else the architecture's own."""
        return merge(self.network.residual or default)

    def halved(self, times: int) -> tuple[int, int]:
        """Height and width after `times` halvings. Raises `RequestError` where they do not divide."""
        _, height, width = self.image_shape
        if height % 2**times or width % 2**times:
            raise RequestError(
                f"{self.network.name} halves its input {times} times, so height and width must be multiples of "
                f"{2**times}; found {height}x{width}. Pad or resize the images, or choose a shallower network"
            )
        return height // 2**times, width // 2**times


Architecture = Callable[[Plan], nn.Module]
_architectures: dict[str, Architecture] = {}


def architecture(name: str) -> Callable[[Architecture], Architecture]:
    """Registers a function from a plan to a body under `name`."""

    def register(make: Architecture) -> Architecture:
        _architectures[name] = make
        return make

    return register


def names() -> dict[str, str]:
    """Every architecture by name, with the first line of its description."""
    discover(__name__.rpartition(".")[0])
    return {name: (make.__doc__ or "").strip().split("\n")[0] for name, make in sorted(_architectures.items())}


def construct(
    network: Network, *, classes: int, image_shape: Sequence[int], mean: Sequence[float], std: Sequence[float],
    seed: int = 0,
) -> SpikingClassifier:  # fmt: skip
    """A freshly initialised network; the same seed gives the same weights, and no global generator moves."""
    if len(image_shape) != 3 or min(image_shape) < 1 or classes < 1:
        raise RequestError(
            "a network needs image_shape=(channels, height, width) and at least one class, "
            f"found {tuple(image_shape)} and {classes}"
        )
    channels, height, width = (int(v) for v in image_shape)
    names()
    plan = Plan(network=network, classes=classes, image_shape=(channels, height, width))
    if len(mean) != channels:
        raise RequestError(f"images have {channels} channels, but mean has {len(mean)} values")
    with rng.scope(seed):
        body = _architectures[network.name](plan)
        initialise(body)
        model = SpikingClassifier(
            body, name=network.name, encoder=network.encoder, normalize=Normalize(mean, std), steps=network.steps,
            image_shape=plan.image_shape, input_noise=network.input_noise,
        )  # fmt: skip
        if is_unsettled(model):
            with torch.no_grad():
                model.eval()(torch.zeros(1, *plan.image_shape))
            model.train()
    return model


def build(
    name: str, *, classes: int = 10, image_shape: Sequence[int] = (3, 32, 32), mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None, seed: int = 0, **settings: Any,
) -> SpikingClassifier:  # fmt: skip
    """`construct` from plain arguments; `settings` are the fields of `Network` and are checked like them."""
    network = Network.parse({"name": name, **settings})
    return construct(
        network, classes=classes, image_shape=image_shape, mean=mean or [0.0] * image_shape[0],
        std=std or [1.0] * image_shape[0], seed=seed,
    )  # fmt: skip


def initialise(body: nn.Module) -> None:
    """SOURCE: METHODS 2 (RAT family): convolutions Kaiming normal, fan out; linear layers PyTorch's, with zero bias."""
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear) and module.bias is not None:
            with torch.no_grad():
                module.bias.zero_()
