"""MPD-SGR: keep membrane potentials out of the window in which the surrogate gradient is not zero."""

import math
from typing import ClassVar, Literal, final

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn

from snnguard.errors import RequestError
from snnguard.layers import TDBN, ConvexCombination, Sum
from snnguard.neurons import Dynamics, Neuron, Watch, neurons_of

from .defense import Batch, Defense, Step
from .schedule import Rise, risen


@final
class MPDSGR(Defense, kind="mpd-sgr"):
    """Loss + eta * mean of Omega, the share of a Gaussian with the membrane's mean and spread that lies in the window.

    Omega = Phi((mu + gamma) / sigma) - Phi((mu - gamma) / sigma), with mu and sigma of `u - threshold` before the reset,
    per layer, channel and time step, over batch and space (eq. 13, 16); the linear readout is left out. `gamma` None
    takes the half width of each neuron's own surrogate window. `layer_weight="uniform"` averages within a layer first;
    "channel" averages over all channels of all layers, so that wide fully connected layers dominate.
    `moments="analytic"` takes mu and sigma from the parameters of tdBN alone (Theorem 1) and leaves out neurons without
    one in front. `rise` lets eta grow over training.

    SOURCE: Jiang 2026 (AAAI), eq. 10-17, eta = 0.05 and gamma = 1; the threshold is subtracted as in eq. 7. DEVIATION: the
    paper averages over all layers, channels and steps at once, our "channel"; in VGG11 the two hidden fully connected
    layers would then have 73 % of the weight. sigma is kept above `min_sigma`.
    """

    changes: ClassVar[str] = "loss"
    source: ClassVar[str] = "Jiang et al., AAAI 2026 (arXiv 2511.12199)"

    eta: float = Field(default=0.05, ge=0)
    gamma: PositiveFloat | None = None
    layer_weight: Literal["uniform", "channel"] = "uniform"
    moments: Literal["empirical", "analytic"] = "empirical"
    min_sigma: PositiveFloat = 1e-3
    rise: Rise = "constant"

    @property
    def watch(self) -> Watch:
        return Watch(moments=self.eta > 0 and self.moments == "empirical")

    def penalty(self, model: nn.Module, batch: Batch, logits: Tensor, step: Step) -> Tensor | None:  # noqa: ARG002
        weight = risen(self.eta, self.rise, step.progress)
        if weight == 0:
            return None
        neurons = neurons_of(model)
        moments: dict[str, tuple[Tensor, Tensor]]
        if self.moments == "analytic":
            self._refuse_traits(neurons)
            moments = {name: theorem_1(norm, neurons[name]) for name, norm in norms_before(model).items()}
            if not moments:
                raise RequestError("the analytic MPD-SGR needs neurons that follow a tdBN; this network has none")
        else:
            seen = step.membranes.items()
            moments = {name: (m.mean, m.var) for name, m in seen if m.mean is not None and m.var is not None}
        layers = []
        for name, (mean, var) in moments.items():
            gamma = self.gamma or neurons[name].window
            layers.append(omega(mean, var.clamp_min(self.min_sigma**2).sqrt(), gamma))
        if self.layer_weight == "uniform":
            return weight * torch.stack([layer.mean() for layer in layers]).mean()
        return weight * torch.cat([layer.flatten() for layer in layers]).mean()

    @staticmethod
    def _refuse_traits(neurons: dict[str, Neuron]) -> None:
        """Theorem 1 is about LIF with a constant decay; raises `RequestError` where a trait changes what it integrates."""
        integrates = ("gain", "leak", "membrane", "threshold")
        other = {trait.kind for neuron in neurons.values() for trait in neuron.settings.traits if trait.slot in integrates}
        if other:
            raise RequestError(
                f"the analytic moments are those of LIF, not with {', '.join(sorted(other))}; take empirical ones"
            )


def omega(mean: Tensor, sigma: Tensor, gamma: float) -> Tensor:
    """Mass of N(mean, sigma^2) inside [-gamma, gamma], elementwise, sigma > 0. SOURCE: MPD-SGR eq. 13."""
    scale = sigma * math.sqrt(2)
    return 0.5 * (torch.erf((mean + gamma) / scale) - torch.erf((mean - gamma) / scale))


def theorem_1(norm: TDBN, neuron: Neuron) -> tuple[Tensor, Tensor]:
    """Mean and variance of `u - threshold`, both [T, C], predicted from the tdBN in front of a neuron.

    mean(t) = beta D(tau, t) - S(t) - threshold, var(t) = (lambda alpha V_th)^2 D(tau^2, t), D(tau, t) = sum_i tau^(t-i);
    S(t) = sum_{i<t} tau^(t-i) f(i) threshold with f(i) the predicted firing rate, a constant for the gradient.
    SOURCE: MPD-SGR Theorem 1 and its appendix. DEVIATION: the threshold is subtracted, and S has tau^(t-i) instead of
    the printed tau^(t+1-i); neither changes anything in the proof but the typing.
    """
    dynamics: Dynamics = neuron.settings
    tau, threshold = dynamics.decay, dynamics.threshold
    spread = (norm.weight * norm.scale) ** 2
    means: list[Tensor] = []
    variances: list[Tensor] = []
    rates: list[Tensor] = []
    for t in range(1, neuron.steps + 1):
        decays = [tau ** (t - i) for i in range(1, t + 1)]
        response = sum((tau ** (t - i) * rate * threshold for i, rate in enumerate(rates, 1)), torch.zeros_like(spread))
        mean = norm.bias * sum(decays) - response.detach() - threshold
        var = spread * sum(d * d for d in decays)
        rates.append(0.5 * (1 + torch.erf(mean / (2 * var.clamp_min(1e-12)).sqrt())))
        means.append(mean)
        variances.append(var)
    return torch.stack(means), torch.stack(variances)


def norms_before(model: nn.Module) -> dict[str, TDBN]:
    """For each neuron that follows a tdBN with nothing in between: its path and that tdBN."""
    found: dict[str, TDBN] = {}
    last: TDBN | None = None
    for name, module in model.named_modules():
        if isinstance(module, TDBN):
            last = module
        elif isinstance(module, Neuron):
            if last is not None:
                found[name] = last
            last = None
        elif isinstance(module, nn.Conv2d | nn.Linear | Sum | ConvexCombination):
            last = None
    return found
