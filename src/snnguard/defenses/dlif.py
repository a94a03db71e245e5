"""DLIF: a learned gain per time step, trained so that perturbations do not move the last layer's membrane."""

from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from snnguard import rng
from snnguard.errors import DefenseConflict
from snnguard.layers import watching
from snnguard.networks import Network
from snnguard.neurons import Watch, neurons_of
from snnguard.neurons.gain import StepGain

from .defense import Batch, Defense, Step


@final
class DLIF(Defense, kind="dlif"):
    """kappa CE(clean) + (1 - kappa) CE(perturbed) + rho mean(Y^2), Y[t] = decay Y[t-1] + I_clean[t] - I_perturbed[t].

    Y is how far the perturbation moves the membrane of the last spiking layer, were there no spikes; I is that layer's
    current before its gain, and no gradient enters the clean branch of the difference. The perturbed images are those that
    an attack earlier in the stack made (the adversarial variant: `at` before `dlif`), else the clean ones plus
    N(0, noise^2), not clamped (the Gaussian variant). The neurons get a gain per time step and the decay of the paper.
    Both passes of a random network see the same draws.
    SOURCE: Ding 2024 (DLIF): decay 0.99, kappa 0.5, rho 1, noise 8/255. DEVIATION: the paper's adversarial images take one
    step of 4/255 from the image plus 0.001 N(0, 1); here they are those of `at`, by default two steps within 2/255.
    """

    changes: ClassVar[str] = "loss, neuron, data"
    source: ClassVar[str] = "Ding et al., ICML 2024 (DLIF)"

    kappa: float = Field(default=0.5, ge=0, le=1)
    rho: float = Field(default=1.0, ge=0)
    noise: float = Field(default=8 / 255, ge=0)
    decay: float = Field(default=0.99, ge=0, le=1)

    @property
    def watch(self) -> Watch:
        return Watch(current=True)

    def design(self, network: Network) -> Network:
        rival = next((trait.kind for trait in network.neuron.traits if trait.slot == "leak"), None)
        if rival is not None:
            raise DefenseConflict(f"dlif sets the neuron's leak to {self.decay}, and {rival} learns it; keep one of them")
        leaky = network.neuron.model_copy(update={"decay": self.decay})
        return network.model_copy(update={"neuron": leaky.having(StepGain())})

    def batch(self, model: nn.Module, batch: Batch, step: Step) -> Batch:  # noqa: ARG002
        if batch.x is not batch.clean or self.noise == 0:
            return batch
        return batch.with_x(batch.clean + self.noise * torch.randn_like(batch.clean))

    def objective(self, model: nn.Module, batch: Batch, logits: Tensor, step: Step) -> Tensor:
        last, neuron = list(neurons_of(model).items())[-1]
        draw = rng.derive(step.seed, "dlif")
        with watching(model, self.watch) as seen:
            with rng.scope(draw):
                before = torch.get_rng_state()
                clean_logits = model(batch.clean)
                random = not torch.equal(before, torch.get_rng_state())
            if random:  # else the difference would be that of two draws, not of two images
                with rng.scope(draw):
                    logits = model(batch.x)
        perturbed = seen[last][1].current if random else step.membranes[last].current
        clean = seen[last][0].current
        assert clean is not None
        assert perturbed is not None
        moved = disturbance(clean.detach() - perturbed, decay=neuron.settings.decay, steps=neuron.steps)
        losses = [functional.cross_entropy(z, batch.y) for z in (clean_logits, logits)]
        return self.kappa * losses[0] + (1 - self.kappa) * losses[1] + self.rho * moved


def disturbance(difference: Tensor, *, decay: float, steps: int) -> Tensor:
    """mean(Y^2) with Y[t] = sum_k decay^(t-k) D[k] for a difference of currents D [T or 1, N, *F]. SOURCE: DLIF's MS-MPPD."""
    y = torch.zeros_like(difference[0])
    squares = []
    for t in range(steps):
        y = decay * y + difference[t if len(difference) > 1 else 0]
        squares.append(y.square().mean())
    return torch.stack(squares).mean()
