"""What a trained network is worth when a constant of its neurons changes after training: decay, threshold or number of steps.

All weights stay, and so does the scale of the normalisation, which was set by the threshold in training.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from snnguard import rng
from snnguard.attacks import Attack, predict
from snnguard.choice import unknown
from snnguard.errors import RequestError, UnknownName
from snnguard.findings import ConstantSweep
from snnguard.networks import SpikingClassifier
from snnguard.neurons import LIF, Mechanism, Neuron, is_unsettled, neurons_of
from snnguard.record import Flags, Interval
from snnguard.threat import Threat

from .sweeps import attacked_images

CONSTANTS = ("decay", "threshold", "steps")


def with_constant(model: SpikingClassifier, constant: str, *, value: float) -> SpikingClassifier:
    """A copy of the network with another decay, threshold or number of steps in all neurons; the weights are the same.

    Raises `RequestError` where that cannot be: a value out of range, or neurons that have learned something in its place.
    """
    _known(constant)
    if constant == "steps" and (not float(value).is_integer() or value < 1):
        raise RequestError(f"a network runs for a whole number of steps, at least 1; found {value}")
    changed = copy.deepcopy(model)
    changed.steps = int(value) if constant == "steps" else model.steps
    for layer, neuron in neurons_of(changed).items():
        settings = neuron.settings
        if constant == "decay" and any(trait.slot == "leak" for trait in settings.traits):
            raise RequestError("another decay would change nothing: a trait of these neurons replaces it")
        if constant != "steps":
            settings = LIF.parse({**settings.to_json(), constant: value})
        changed.set_submodule(layer, _heir(settings.build(steps=changed.steps), neuron))
    return changed


def _known(constant: str) -> None:
    if constant not in CONSTANTS:
        raise UnknownName(unknown("constant", constant, CONSTANTS))


def _heir(fresh: Neuron, neuron: Neuron) -> Neuron:
    """`fresh` with all that `neuron` has learned."""
    for part, old, trait in zip(fresh.mechanisms, neuron.mechanisms, fresh.settings.traits, strict=True):
        learned = old.state_dict()
        if is_unsettled(part):
            # What is as large as its layer takes its shape from a current: from one that is as large as what was learned.
            shape = max(learned.values(), key=Tensor.numel).shape
            assert isinstance(part, Mechanism)
            part.settle(torch.zeros(1, 1, *shape))
        if any(tensor.shape != learned[name].shape for name, tensor in part.state_dict().items()):
            raise RequestError(
                f"{trait.kind} has learned something for each of {neuron.steps} steps; it cannot run for {fresh.steps}"
            )
    state = neuron.state_dict()
    fresh.load_state_dict(state)
    for tensor in state.values():
        fresh.to(tensor.device)
    return fresh.train(neuron.training)


def constant_sweep(
    model: SpikingClassifier, x: Tensor, y: Tensor, *, constant: str, values: Sequence[float], attack: Attack, threat: Threat,
    draws: int = 1, seed: int = 0, batch_size: int = 128,
) -> ConstantSweep:  # fmt: skip
    """Accuracy at each value on raw images `x` [N, C, H, W] of classes `y` [N], clean and under the attack.

    The attack is made anew on each changed network. Raises `RequestError` as `with_constant` does.
    """
    _known(constant)
    neuron = next(iter(neurons_of(model).values()), None)
    if neuron is None:
        raise RequestError(f"{type(model).__name__} contains no SNNGuard neuron whose {constant} could be changed")
    trained = float(neuron.steps if constant == "steps" else getattr(neuron.settings, constant))
    clean: list[Interval] = []
    attacked: list[Interval] = []
    for value in values:
        changed = with_constant(model, constant, value=value)
        x_adv = attacked_images(attack, changed, x, y, threat=threat, seed=seed, batch_size=batch_size)
        with rng.scope(rng.derive(seed, "judgement")):
            before, after = (
                predict(changed, images, draws=draws, batch_size=batch_size).argmax(1) == y for images in (x, x_adv)
            )
        clean.append(Flags(tuple(before.tolist())).interval)
        attacked.append(Flags(tuple((before & after).tolist())).interval)
    return ConstantSweep(
        constant=constant, trained=trained, values=tuple(values), clean=tuple(clean), attacked=tuple(attacked)
    )  # fmt: skip
