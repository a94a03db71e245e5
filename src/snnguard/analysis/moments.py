"""Means and variances of the membrane per layer, channel and step, against Theorem 1 of MPD-SGR.

    u[t] - threshold ~ N(beta * D(decay, t) - S(t) - threshold, (lambda * alpha * V)^2 * D(decay^2, t))
    D(decay, t) = sum_{i <= t} decay^(t - i),   S(t) = sum_{i < t} decay^(t - i) * threshold * f(i)

beta and lambda are the bias and weight of the tdBN layer that feeds the neuron, alpha * V its scale, f(i) the firing rates of
the channel as measured. SOURCE: MPD-SGR (AAAI 2026), Theorem 1 and supplement A. DEVIATION: the theorem leaves out the
threshold, and its S has exponents one higher, which its own equation 4 does not give; both make no difference to the variance.
The theorem assumes plain neurons, a reset that subtracts, normal currents that are independent from step to step, and images
whose statistics are the running ones. A reset to zero, a current that repeats and traits are listed as a layer's departures.
"""

from typing import Any

import torch
from torch import Tensor, nn

from snnguard import rng
from snnguard.attacks import frozen
from snnguard.findings import ChannelMoments
from snnguard.neurons import Neuron, Watch, neurons_of

from .watched import batches, look


def channel_moments(model: nn.Module, x: Tensor, *, seed: int = 0, batch_size: int = 128) -> list[ChannelMoments]:
    """One entry per layer that a normalisation feeds, over raw images `x` [N, C, H, W]; other layers are left out."""
    fed = feeding(model, x[:1])
    sums: dict[str, Tensor] = {}
    repeated = set()
    for part, drawn in batches(model, x, seed=seed, batch_size=batch_size):
        _, seen = look(model, part, watch=Watch(potential=True, current=True), seed=drawn)
        for layer in fed:
            for membrane in seen[layer]:
                assert membrane.potential is not None
                assert membrane.spikes is not None
                assert membrane.current is not None
                if len(membrane.current) == 1 < len(membrane.spikes):
                    repeated.add(layer)
                ubar, spikes = (part.float().cpu().double() for part in (membrane.potential, membrane.spikes))
                parts = [torch.ones_like(ubar), ubar, ubar.square(), spikes]
                batch = torch.stack([part.transpose(1, 2).flatten(2).sum(2) for part in parts])
                sums[layer] = sums.get(layer, torch.zeros_like(batch)) + batch
    neurons, modules = neurons_of(model), dict(model.named_modules())
    return [
        _compared(layer, fed[layer], neurons[layer], modules[fed[layer]], *sums[layer], repeated=layer in repeated)
        for layer in fed
    ]


def feeding(model: nn.Module, x: Tensor) -> dict[str, str]:
    """For each neuron whose current is the output of a normalisation layer, both by their paths; seen in a pass of `x`.

    A neuron behind a sum of branches or a linear layer has none.
    """
    found: dict[str, str] = {}
    last: list[tuple[str, Tensor]] = []  # holding on to the output keeps its memory from being used again
    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):

            def made(_: nn.Module, given: Any, output: Tensor, name: str = name) -> None:  # noqa: ARG001
                last[:] = [(name, output)]

            hooks.append(module.register_forward_hook(made))
        elif isinstance(module, Neuron):

            def taken(_: nn.Module, given: Any, name: str = name) -> None:
                # Folding and unfolding time makes views, so the current lies where the normalisation has put it.
                if last and last[0][1].untyped_storage().data_ptr() == given[0].untyped_storage().data_ptr():
                    found[name] = last[0][0]

            hooks.append(module.register_forward_pre_hook(taken))
    try:
        with torch.no_grad(), frozen(model), rng.scope(0):  # whatever is drawn, the layers are the same
            model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _compared(
    layer: str, name: str, neuron: Neuron, norm: nn.Module, n: Tensor, total: Tensor, squares: Tensor, fired: Tensor, *,
    repeated: bool,
) -> ChannelMoments:  # fmt: skip
    """From sums over images and pixels, [T, C]."""
    assert isinstance(norm, nn.BatchNorm2d)
    mean = total / n
    std = (squares / n - mean.square()).clamp_min(0).sqrt()
    settings, steps = neuron.settings, len(n)
    # powers[t, i] = decay^(t - i) for i <= t
    lag = torch.arange(steps)[:, None] - torch.arange(steps)
    powers = torch.where(lag >= 0, torch.tensor(settings.decay).double() ** lag.clamp_min(0), torch.zeros(()))
    weight = torch.ones(norm.num_features) if norm.weight is None else norm.weight.detach().cpu()
    beta = torch.zeros(norm.num_features) if norm.bias is None else norm.bias.detach().cpu()
    spread = weight.double().abs() * getattr(norm, "scale", 1.0)
    depth = powers.sum(1, keepdim=True)
    response = settings.threshold * (powers - torch.eye(steps)) @ (fired / n)
    predicted = beta.double() * depth - response - settings.threshold
    departures = ["reset to zero"] if settings.reset == "zero" else []
    departures += ["the same current in every step"] if repeated else []
    departures += [f"trait {trait.kind}" for trait in settings.traits]
    return ChannelMoments(
        layer=layer,
        normalisation=name,
        departures=tuple(departures),
        mean=_rows(mean),
        predicted_mean=_rows(predicted),
        std=_rows(std),
        predicted_std=_rows(spread * powers.square().sum(1, keepdim=True).sqrt()),
        repeated_std=_rows(spread * depth),
    )


def _rows(values: Tensor) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in values.tolist())
