"""HoSNN: thresholds that pull each membrane back to the course that it takes on clean images."""

from typing import ClassVar, final

import torch
from pydantic import Field
from torch import nn

from snnguard.errors import RequestError
from snnguard.layers import watching
from snnguard.networks import Network
from snnguard.neurons import Watch, neurons_of
from snnguard.neurons.homeostasis import Homeostasis, HomeostaticThreshold

from .defense import Batch, Defense, Step
from .stack import Stack


@final
class HoSNN(Defense, kind="hosnn"):
    """threshold + shift[t], shift[t] = leak * shift[t-1] + rate * (u[t-1] - u*[t-1]): see `neurons.homeostasis`.

    The signature u* [T, *F] of each layer is the mean membrane, before reset, of an undefended network of the same
    description (trained first) on the clean training images that come during the first `record_until` of training; then
    it stays. The network is deterministic after training. `rate` 0 is no defense. Meant to stand beside `at`.

    SOURCE: Geng 2025 (HoSNN): signature from a clean network, used with weak adversarial training. DEVIATION: a
    reconstruction; rate 0.2, leak 0.8 and record_until 0.1 are ours, and a rate is not learned.
    """

    changes: ClassVar[str] = "neuron"
    source: ClassVar[str] = "Geng & Li, TMLR 2025 (HoSNN, arXiv 2308.10373)"

    rate: float = Field(default=0.2, ge=0)
    leak: float = Field(default=0.8, ge=0, le=1)
    record_until: float = Field(default=0.1, gt=0, le=1)

    def design(self, network: Network) -> Network:
        return network.having(HomeostaticThreshold(rate=self.rate, leak=self.leak)) if self.rate else network

    def teachers(self) -> dict[str, Defense]:
        return {"hosnn": Stack()} if self.rate else {}

    def prepare(self, model: nn.Module, batch: Batch, step: Step) -> None:
        if self.rate == 0 or step.progress >= self.record_until:
            return
        teacher = step.teachers["hosnn"]
        with torch.no_grad(), watching(teacher, Watch(potential=True)) as seen:
            teacher(batch.clean)
        theirs = neurons_of(teacher)
        for name, neuron in neurons_of(model).items():
            if name not in theirs:
                raise RequestError(f"the teacher of hosnn has no layer {name!r}; it must have the layers of the network")
            potential = seen[name][-1].potential
            assert potential is not None
            for mechanism in neuron.mechanisms:
                if isinstance(mechanism, Homeostasis):
                    mechanism.record(potential + theirs[name].settings.threshold)
