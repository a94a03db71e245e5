"""Norms of the derivative of the logits by the raw image, under any gradient rule.

With `FixedPattern` the derivative is the affine map W_P of MPD-SGR's Theorem 2 (supplement): the network with its firing
pattern held fixed. A network whose spikes are held fixed does not depend on its input at all, so the literal W_P is zero, and
the theorem needs a reading. The one taken here is that of a rectified network: a neuron that fires passes a change of its
membrane on with slope 1, one that does not passes nothing, and resets happen when they happened.
DEVIATION: so W_P bounds the network that this reading describes, not the steps that a spiking network makes.
"""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from snnguard import rng
from snnguard.attacks import Model, frozen
from snnguard.attacks.gradient import rule_on
from snnguard.findings import JacobianNorms
from snnguard.neurons import Dynamics, GradientRule, Mechanism, Membrane, Surrogate, Watch
from snnguard.neurons.drawn import Noise
from snnguard.neurons.rule import run
from snnguard.threat import Threat


class _Open:
    """Slope 1 from the threshold on, else 0, in every step."""

    def at(self, t: int, u: Tensor, *, threshold: float) -> "_Open":  # noqa: ARG002
        return self

    def derivative(self, ubar: Tensor) -> Tensor:
        return (ubar >= 0).to(ubar.dtype)


@final
class FixedPattern(GradientRule, kind="fixed-pattern"):
    """The firing pattern P, where u[t] >= threshold, as a gate that stays: ds[t] = P[t] * du[t].

    The membrane follows du[t+1] = decay * (1 - s[t]) * du[t] + dI[t+1], without the factor 1 - s[t] where the reset subtracts.
    SOURCE: MPD-SGR (AAAI 2026), supplement, Theorem 2, as read here.
    """

    def spikes(
        self,
        current: Tensor,
        *,
        steps: int,
        dynamics: Dynamics,
        surrogate: Surrogate,  # noqa: ARG002
        watch: Watch | None = None,
        noise: Noise | None = None,
        leak: Tensor | None = None,
        inside: Sequence[Mechanism] = (),
    ) -> tuple[Tensor, Membrane | None]:
        constants = {**dynamics.constants(), "detach_reset": True}
        return run(
            current, inside, own=False, steps=steps, surrogate=_Open(), watch=watch, noise=noise, leak=leak, **constants
        )  # fmt: skip


def jacobian(model: Model, x: Tensor, *, rule: GradientRule | None = None, draws: int = 1, seed: int = 0) -> Tensor:
    """The derivative [N, K, D] of the K logits by the D values of each raw image `x` [N, *F], averaged over `draws`.

    `rule` None is the network's own: backpropagation through time with the surrogate it was trained with. One backward pass
    for each class.
    """
    total = torch.zeros(())
    with frozen(model), rng.scope(seed), torch.enable_grad(), rule_on(model, rule):
        for _ in range(draws):
            point = x.detach().requires_grad_()
            logits = model(point)
            rows = [_derivative(logit.sum(), point) for logit in logits.T]
            total = total.to(point) + torch.stack([row.flatten(1) for row in rows], 1)
    return total.detach() / draws


def _derivative(value: Tensor, point: Tensor) -> Tensor:
    if not value.requires_grad:  # the model has cut the graph
        return torch.zeros_like(point)
    return torch.autograd.grad(value, point, retain_graph=True, allow_unused=True, materialize_grads=True)[0]


def jacobian_norms(
    model: Model, x: Tensor, *, threat: Threat, rule: GradientRule | None = None, name: str = "bptt", draws: int = 1,
    seed: int = 0, batch_size: int = 128,
) -> JacobianNorms:  # fmt: skip
    """Per raw image of `x` [N, C, H, W]: Frobenius, spectral, and from the threat's norm to the Euclidean one."""
    norms: list[list[float]] = [[], [], []]
    for index, part in enumerate(x.split(batch_size)):
        matrices = jacobian(model, part, rule=rule, draws=draws, seed=rng.derive(seed, "batch", index)).double().cpu()
        norms[0] += torch.linalg.matrix_norm(matrices).tolist()
        norms[1] += torch.linalg.matrix_norm(matrices, 2).tolist()
        norms[2] += operator_norm(matrices, threat).tolist()
    frobenius, spectral, operator = map(tuple, norms)
    return JacobianNorms(rule=name, norm=threat.kind, frobenius=frobenius, spectral=spectral, operator=operator)


def operator_norm(matrices: Tensor, threat: Threat, *, steps: int = 50) -> Tensor:
    """max |W d|_2 over d of length 1 in the norm of the threat, [N], for W in `matrices` [N, K, D].

    By power iteration, d <- the direction that W^T W d points to, from each row of W. Under L2 that is the largest singular
    value, approached from below; under Linf it is a local maximum. SOURCE: Boyd 1974.
    """

    def direction(g: Tensor) -> Tensor:
        return threat.ascent(g.flatten(0, 1)).reshape(g.shape)

    d = direction(matrices)  # [N, starts, D]
    for _ in range(steps):
        d = direction(d @ matrices.mT @ matrices)
    lengths: Tensor = torch.linalg.vector_norm(d @ matrices.mT, dim=2)
    return lengths.amax(1)
