"""HIRE-SNN: crafted noise that changes from segment to segment of the same pass."""

from typing import ClassVar, final

import torch
from pydantic import Field
from torch import nn

from snnguard import rng
from snnguard.attacks import InputGradient, frozen
from snnguard.errors import RequestError
from snnguard.networks import Network
from snnguard.neurons import mechanisms_of, neurons_of
from snnguard.neurons.leak import LayerLeak, LearnedLeak
from snnguard.threat import Linf, Threat

from .defense import Batch, Defense, Group, Step


@final
class HIRE(Defense, kind="hire"):
    """The T steps fall into `segments` parts; x[t] = x + delta_k in part k, delta_(k+1) = clip(delta_k + eps sign(g_k)).

    delta_1 is random in the ball of `threat`, g_k the sum over part k of the gradient for the images of each step, taken in
    one pass in eval mode that sees x + delta_1 in every step. Images become [N, T, C, H, W], cut to the threat's range; where
    T does not divide, the first parts are the longer ones. Put `at` before it: behind it, an attack would move every step
    on its own; the noise comes on top of its perturbation. `learn_leak` gives every layer a learned leak (PLIF's, without
    weight decay). With eps 0 and `learn_leak` off it is plain training.

    SOURCE: Kundu 2021 (HIRE-SNN), two segments. DEVIATION: reconstructed, no training code was found. In the paper the weights
    are updated after each segment and that backward pass gives the next noise; here a step has one update, and the noise a
    pass of its own. eps is not confirmed; 2/255 is that of `at`. The leak starts at 1/2 as in PLIF, in the published test code
    at 1. No learned threshold: a learned scale of the current in front (tdBN) gives the same spikes.
    """

    changes: ClassVar[str] = "data, neuron"
    source: ClassVar[str] = "Kundu et al., ICCV 2021 (HIRE-SNN)"

    segments: int = Field(default=2, ge=2)
    threat: Threat = Linf(eps=2 / 255)
    learn_leak: bool = True

    def design(self, network: Network) -> Network:
        return network.having(LearnedLeak()) if self.learn_leak else network

    def groups(self, model: nn.Module) -> list[Group]:
        leaks = [leak.w for leak in mechanisms_of(model, LayerLeak)] if self.learn_leak else []
        return [Group(parameters=leaks, weight_decay=0.0)] if leaks else []

    def batch(self, model: nn.Module, batch: Batch, step: Step) -> Batch:
        if self.threat.eps == 0:
            return batch
        steps = steps_of(model)
        if self.segments > steps:
            raise RequestError(f"{self.segments} segments need as many time steps, found {steps}; choose fewer segments")
        # Images that an earlier part made already differ from step to step keep that axis.
        frames = batch.x if batch.x.ndim > batch.clean.ndim else batch.x[:, None].expand(-1, steps, *batch.x.shape[1:])
        seed = rng.derive(step.seed, "hire")
        delta = self.threat.sample(batch.clean, seed) - batch.clean
        with frozen(model), rng.scope(seed):
            gradient = InputGradient()(model, self.threat.clip(frames + delta[:, None]), batch.y).gradient
        parts = []
        for part in gradient.tensor_split(self.segments, dim=1):
            parts.append(delta[:, None].expand_as(part))
            delta = self.threat.shrink(delta + self.threat.eps * self.threat.ascent(part.sum(1)))
        return batch.with_x(self.threat.clip(frames + torch.cat(parts, 1)))


def steps_of(model: nn.Module) -> int:
    """The number of time steps of a spiking network."""
    neuron = next(iter(neurons_of(model).values()), None)
    if neuron is None:
        raise RequestError("HIRE splits the time steps of a spiking network; this model has no neuron")
    return neuron.steps
