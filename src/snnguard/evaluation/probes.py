"""What is measured of a model beside the attacks: numbers by name, on the first images, from which the checks judge.

zero-gradient/RULE      share of images whose cross-entropy has no input gradient in any pixel
gradient-stops/MODULE   share of images whose gradient reaches the module's output but not its input
forward-gap/RULE        largest difference that a gradient rule makes to the logits
cosine/RULE~RULE        mean cosine between the input gradients of two rules
state-gap               largest difference between two calls on the same images, one before and one after other images
mode-gap                largest difference that training mode makes to the logits, normalisation and dropout apart
blind-in-eval           share of images that have a gradient in that mode and none in eval mode
probabilities           share of images whose "logits" lie in [0, 1] and sum to 1
saturated               share of images that are classified so surely that their cross-entropy is exactly 0
loss-stays              share of images whose loss PGD-20 does not raise
dead-channels           share of the neurons' channels that never fire
outside-window          share of membrane potentials at which the surrogate gradient is zero or below a tenth of its peak
"""

import itertools
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack

import torch
from torch import Tensor, nn
from torch.nn import functional

from snnguard import rng
from snnguard.attacks import PGD, InputGradient, Model, frozen, predict
from snnguard.attacks.gradient import rule_on
from snnguard.attacks.repair import awake
from snnguard.layers import watching
from snnguard.neurons import GradientRule, Neuron, Watch, neurons_of
from snnguard.threat import Threat

from .checks import LEAK
from .suite import rule_name

PROBE = 256
"""How many images most probes look at."""

FEW = 16
"""How many images are looked at one by one."""


def measure(
    model: Model, x: Tensor, y: Tensor, *, rules: Sequence[GradientRule | None], threat: Threat, seed: int, batch_size: int,
    fresh: AbstractContextManager[None] | None = None,
) -> dict[str, float]:  # fmt: skip
    """Every probe, on the first of the images `x` [N, *F]; the same numbers for every batch size but for rounding.

    Within `fresh` the model keeps no state; it is asked for where the model does, since that may not even fit the next batch.
    """
    x, y = x[:PROBE], y[:PROBE]
    found: dict[str, float] = {}
    with ExitStack() as stack:
        stack.enter_context(frozen(model))
        stack.enter_context(rng.scope(rng.derive(seed, "probes")))
        found["state-gap"] = _state_gap(model, x[:batch_size], seed)
        if fresh is not None and found["state-gap"] > LEAK:
            stack.enter_context(fresh)
        gradients = {rule_name(rule): _gradients(model, x, y, rule, batch_size) for rule in rules}
        for name, gradient in gradients.items():
            found[f"zero-gradient/{name}"] = float(still(gradient).float().mean())
        for (one, a), (other, b) in itertools.combinations(sorted(gradients.items()), 2):
            found[f"cosine/{one}~{other}"] = cosine(a, b)
        for rule in rules:
            if rule is not None:
                found[f"forward-gap/{rule_name(rule)}"] = _forward_gap(model, x[:batch_size], rule, seed)
        found |= {f"gradient-stops/{name}": share for name, share in gradient_stops(model, x[:FEW], y[:FEW]).items()}
        found |= _modes(model, x[:batch_size], y[:batch_size], seed)
        found |= _outputs(model, x, y, batch_size)
        found["loss-stays"] = _loss_stays(model, x[:64], y[:64], threat, seed)
        found |= _neurons(model, x[:64])
    return found


def still(gradient: Tensor) -> Tensor:
    """Which images have no gradient in any pixel, bool [N]."""
    return (gradient == 0).flatten(1).all(1)


def cosine(one: Tensor, other: Tensor) -> float:
    """Mean cosine over the images that have both gradients; 0 if none has."""
    both = ~still(one) & ~still(other)
    # In double, and scaled first: the gradients of a sure model are too small to be squared.
    a, b = (g[both].double().flatten(1) for g in (one, other))
    a, b = (g / g.abs().amax(1, keepdim=True) for g in (a, b))
    return float(functional.cosine_similarity(a, b).mean()) if both.any() else 0.0


def gradient_stops(model: Model, x: Tensor, y: Tensor) -> dict[str, float]:
    """For every neuron and every module without children: the share of images whose gradient gets to its output and no further.

    Modules where it never stops are left out. A module that cuts the graph is bridged for the measurement, so that the
    ones before it are measured too.
    """
    stopped: dict[str, int] = {}
    if not isinstance(model, nn.Module):
        return {}
    for image, label in zip(x.split(1), y.split(1), strict=True):
        for name in _stops(model, image, label):
            stopped[name] = stopped.get(name, 0) + 1
    return {name: count / len(x) for name, count in stopped.items()}


def _stops(model: nn.Module, image: Tensor, label: Tensor) -> list[str]:
    passed: list[tuple[str, Tensor, Tensor]] = []

    def hook(name: str):  # type: ignore[no-untyped-def]
        def look(_: nn.Module, args: tuple[object, ...], out: object) -> object:
            given = args[0] if args else None
            if not isinstance(given, Tensor) or not isinstance(out, Tensor) or not out.is_floating_point():
                return None
            watched = out if out.requires_grad else out.detach().requires_grad_()
            passed.append((name, given, watched))
            return watched

        return look

    inside = {part for neuron in neurons_of(model).values() for part in neuron.modules() if part is not neuron}
    leaves = [(n, m) for n, m in model.named_modules() if m not in inside and (isinstance(m, Neuron) or not list(m.children()))]
    handles = [module.register_forward_hook(hook(name)) for name, module in leaves]
    try:
        with torch.enable_grad():
            logits = model(image.clone().requires_grad_())
            loss = functional.cross_entropy(logits, label)
            if not loss.requires_grad:
                return []
            tensors = [t for _, given, out in passed for t in (given, out)]
            asked = [t for t in tensors if t.requires_grad]
            found = iter(torch.autograd.grad(loss, asked, allow_unused=True))
    finally:
        for handle in handles:
            handle.remove()
    arrives = [t.requires_grad and (g := next(found)) is not None and bool((g != 0).any()) for t in tensors]
    return [
        name for (name, _, _), before, after in zip(passed, arrives[::2], arrives[1::2], strict=True) if after and not before
    ]


def _gradients(model: Model, x: Tensor, y: Tensor, rule: GradientRule | None, batch_size: int) -> Tensor:
    parts = zip(x.split(batch_size), y.split(batch_size), strict=True)
    return torch.cat([InputGradient(rule=rule)(model, a, b).gradient for a, b in parts])


def _forward_gap(model: Model, x: Tensor, rule: GradientRule, seed: int) -> float:
    own = _look(model, x, seed)
    with rule_on(model, rule):
        return float((own - _look(model, x, seed)).abs().max())


def _state_gap(model: Model, x: Tensor, seed: int) -> float:
    """What a call leaves behind for the next one."""
    first, _, last = (_look(model, images, seed) for images in (x, x.flip(0), x))
    return float((first - last).abs().max())


def _modes(model: Model, x: Tensor, y: Tensor, seed: int) -> dict[str, float]:
    """What training mode changes."""
    if not isinstance(model, nn.Module):
        return {}
    own = _look(model, x, seed)
    blind = still(InputGradient()(model, x, y).gradient)
    with awake(model):
        gap = float((_look(model, x, seed) - own).abs().max())
        sees = ~still(InputGradient()(model, x, y).gradient)
    return {"mode-gap": gap, "blind-in-eval": float((blind & sees).float().mean())}


def _look(model: Model, x: Tensor, seed: int) -> Tensor:
    with torch.no_grad(), rng.scope(seed):
        return model(x)


def _outputs(model: Model, x: Tensor, y: Tensor, batch_size: int) -> dict[str, float]:
    logits = predict(model, x, batch_size=batch_size).float()
    inside = ((logits >= 0) & (logits <= 1)).all(1) & ((logits.sum(1) - 1).abs() < 1e-3)
    sure = functional.cross_entropy(logits, y, reduction="none") == 0
    return {"probabilities": float(inside.float().mean()), "saturated": float(sure.float().mean())}


def _loss_stays(model: Model, x: Tensor, y: Tensor, threat: Threat, seed: int) -> float:
    x_adv = PGD(steps=20, step_fraction=0.1)(model, x, y, threat=threat, seed=seed)
    losses = []
    for images in (x, x_adv):
        with rng.scope(seed):
            losses.append(functional.cross_entropy(predict(model, images).float(), y, reduction="none"))
    return float((losses[1] <= losses[0]).float().mean())


def _neurons(model: Model, x: Tensor) -> dict[str, float]:
    """Channels that never fire, and potentials that let no gradient through; nothing for a model without our neurons."""
    neurons = neurons_of(model) if isinstance(model, nn.Module) else {}
    if not neurons or not isinstance(model, nn.Module):
        return {}
    with torch.no_grad(), watching(model, Watch(potential=True)) as seen:
        model(x)
    silent: list[Tensor] = []
    outside: list[float] = []
    for name, passes in seen.items():
        for membrane in passes:
            assert membrane.potential is not None
            assert membrane.spikes is not None
            fired = membrane.spikes.transpose(0, 2) if membrane.spikes.ndim > 2 else membrane.spikes[None]
            silent.append((fired.flatten(1) == 0).all(1).float())
            outside.append(float((membrane.potential.abs() > neurons[name].window).float().mean()))
    return {"dead-channels": float(torch.cat(silent).mean()), "outside-window": sum(outside) / len(outside)}
