"""What an attacker finds out before the attack, on images that are not judged: which constants and which gradient suit."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from snnguard import rng
from snnguard.attacks import SAPGD, Aim, InputGradient, Model, check_labels, predict
from snnguard.errors import InvalidInput
from snnguard.neurons import ASSG, HART, PDSG, FiredMask, GradientRule, RateGradient, neurons_of
from snnguard.threat import Threat

from .meter import metered
from .suite import rule_name
from .suites import WIDTHS, Attacker

SHARES = (0.35, 0.4, 0.425, 0.45, 0.475)
"""The shares tried for ASSG. SOURCE: Wang 2025 search [0.35, 0.49] and find 0.41 to 0.465 best."""

GAMMAS = (0.5, 1.0, 2.0)
"""The half widths tried for HART."""

STEPS = 20
"""Of SA-PGD per candidate."""

DRAWS = 2
"""Of a random model, at most: what counts is the order of the candidates, over all images together."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """`leads` is, per candidate, how far SA-PGD brought the images on average (`Aim.lead`): the larger, the stronger."""

    leads: dict[str, float]
    images: int
    forwards: int
    backwards: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, for the notes of a record."""
        return asdict(self)


def tune(
    model: Model, x: Tensor, y: Tensor, *, threat: Threat, draws: int = 1, seed: int = 0, substitutes: Sequence[str] = ()
) -> tuple[Attacker, Tuning]:  # fmt: skip
    """The attacker who knows this model best, found on held-out images `x` [N, *F]: never on those that are judged.

    Every candidate is tried by the same short attack, and compared by the mean lead: it tells apart candidates that turn
    the same images. Of each family the best constant is kept, and the families are ranked. Where all lead equally far,
    as where something cuts every gradient, nothing is known and the defaults stay. A model without our neurons has its own
    gradient alone, and nothing to find out.
    Raises `InvalidInput` without images.
    """
    if len(x) == 0:
        raise InvalidInput("tuning needs images that are not judged, e.g. of the validation split; there are none")
    check_labels(x, y)
    plain = Attacker(draws=draws, substitutes=tuple(substitutes))
    if not (isinstance(model, nn.Module) and neurons_of(model)):
        return plain, Tuning(leads={}, images=len(x), forwards=0, backwards=0, seconds=0.0)
    began = time.perf_counter()
    own = {neuron.settings.surrogate for neuron in neurons_of(model).values()}
    widths = [rule for rule in WIDTHS if rule.surrogate is None or own != {rule.surrogate}]
    families: list[Sequence[GradientRule]] = [
        [ASSG(share=share) for share in SHARES], [HART(gamma=gamma) for gamma in GAMMAS],
        *([rule] for rule in (*widths, RateGradient(), PDSG(), FiredMask())),
    ]  # fmt: skip
    with metered(model) as cost:
        leads = {
            rule: _lead(model, x, y, rule, threat, min(draws, DRAWS), rng.derive(seed, "tuning"))
            for family in families
            for rule in family
        }
    found = [max(family, key=leads.__getitem__) for family in families]
    ranked = tuple(sorted(found, key=leads.__getitem__, reverse=True))
    attacker = plain if len({*leads.values()}) == 1 else plain.model_copy(update={"ranked": ranked})
    return attacker, Tuning(
        leads={rule_name(rule): round(lead, 6) for rule, lead in leads.items()}, images=len(x), forwards=cost.forwards,
        backwards=cost.backwards, seconds=round(time.perf_counter() - began, 3),
    )  # fmt: skip


def _lead(model: Model, x: Tensor, y: Tensor, rule: GradientRule, threat: Threat, draws: int, seed: int) -> float:
    attack = SAPGD(steps=STEPS, gradient=InputGradient(rule=rule, draws=draws))
    x_adv = attack(model, x, y, threat=threat, seed=seed)
    with torch.no_grad(), rng.scope(seed):
        return float(Aim(y.long()).lead(predict(model, x_adv, draws=draws)).double().mean())
