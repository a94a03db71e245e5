"""Several attacks as one, each on what those before it left; and AutoAttack, the best known of them."""

from typing import Literal, Self, final, get_args

import torch
from pydantic import Field, model_validator
from torch import Tensor

from snnguard import rng
from snnguard.choice import named, unknown
from snnguard.errors import UnknownName
from snnguard.neurons import GradientRule
from snnguard.threat import Threat

from .aim import Aim
from .apgd import APGD
from .attack import Attack, Target
from .fab import FAB
from .gradient import InputGradient
from .loss import DLR
from .model import Model, predict
from .multi_targeted import LEAD, apgd_t
from .square import Square

Version = Literal["standard", "plus", "rand"]


@final
class Ensemble(Attack, kind="ensemble"):
    """Each of `attacks` in turn, on the samples that none before has won; the other points are not looked at again.

    With `draws` > 1 the model counts as random: no sample leaves, and the point whose logits, averaged over the draws, have
    the largest `Aim.lead` is kept.
    """

    attacks: tuple[Attack, ...] = Field(min_length=1)
    draws: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        for attack in self.attacks:
            if attack.target is not None:
                raise ValueError(f"give target={attack.target!r} to the ensemble, not to one of its attacks")
        return self

    @property
    def bounded(self) -> bool:
        return all(attack.bounded for attack in self.attacks)

    @property
    def frugal(self) -> bool:
        return all(attack.frugal for attack in self.attacks)

    @property
    def thins_out(self) -> bool:
        return (self.draws == 1 or any(attack.thins_out for attack in self.attacks)) and self.frugal

    def with_rule(self, rule: GradientRule | None) -> Self:
        return self.model_copy(update={"attacks": tuple(attack.with_rule(rule) for attack in self.attacks)})

    def run(self, model: Model, x: Tensor, aim: Aim, threat: Threat, seed: int) -> Tensor:
        found = x.clone()
        lead = torch.full((len(x),), -torch.inf, dtype=torch.float64, device=x.device)
        live = torch.arange(len(x), device=x.device)
        for number, attack in enumerate(self.attacks):
            if len(live) == 0:
                break
            point = attack.run(model, x[live], aim[live], threat, rng.derive(seed, number))
            logits = predict(model, point, draws=self.draws)
            reached, ahead = aim[live].reached(logits), aim[live].lead(logits).double()
            better = (reached & (self.draws == 1)) | (ahead > lead[live])
            found[live[better]], lead[live[better]] = point[better], ahead[better]
            if self.draws == 1:
                live = live[~reached]
        return found

    @classmethod
    def example(cls) -> Self:
        return cls(attacks=(APGD(steps=6, gradient=InputGradient(loss=LEAD)), Square(queries=5)))


@named(Attack, "auto-attack")
def auto_attack(
    *, version: Version = "standard", gradient: InputGradient | None = None, target: Target | None = None,
) -> Ensemble:  # fmt: skip
    """AutoAttack: `members` as one attack. SOURCE: Croce & Hein 2020."""
    given = InputGradient.parse(gradient or InputGradient(draws=20 if version == "rand" else 1))
    return Ensemble(attacks=tuple(members(version, given).values()), draws=given.draws, target=target)


def members(version: Version, gradient: InputGradient) -> dict[str, Attack]:
    """The attacks of a version by name; `gradient` says which rule and how many draws, its loss is each attack's own.

    standard: APGD on the cross-entropy, APGD-T, FAB-T and Square with 5000 queries. plus: five restarts each, with APGD on DLR
    and the untargeted FAB. rand, for random models: APGD on both losses, 20 draws. SOURCE: Croce & Hein 2020.
    A model of three classes has no targeted DLR and one of two no DLR at all (see `DLR`).
    Raises `UnknownName` for another version.
    """
    if version not in get_args(Version):
        raise UnknownName(unknown("version", str(version), get_args(Version)))
    ce, dlr = gradient.model_copy(update={"loss": InputGradient().loss}), gradient.model_copy(update={"loss": DLR()})
    early = gradient.draws == 1
    if version == "rand":
        return {"apgd-ce": APGD(early_stop=early, gradient=ce), "apgd-dlr": APGD(early_stop=early, gradient=dlr)}
    restarts = 5 if version == "plus" else 1
    found: dict[str, Attack] = {"apgd-ce": APGD(restarts=restarts, early_stop=early, gradient=ce)}
    if version == "plus":
        found["apgd-dlr"] = APGD(restarts=restarts, early_stop=early, gradient=dlr)
        found["fab"] = FAB(variant="untargeted", restarts=restarts, gradient=ce)
    found["apgd-t"] = apgd_t(gradient=ce)
    found["fab-t"] = FAB(gradient=ce)
    found["square"] = Square(queries=5000, draws=gradient.draws)
    return found
