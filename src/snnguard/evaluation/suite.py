"""Suites: the attacks that an evaluation is made of, by name."""

from collections.abc import Callable, Sequence

from pydantic import Field, field_validator

from snnguard.attacks import CW, PGD, Attack, GaussianNoise, InputGradient, UniformNoise, bim, fgsm, rfgsm
from snnguard.choice import Choice, unknown
from snnguard.errors import UnknownName
from snnguard.neurons import BPTT, GradientRule, RateGradient

PAPER_STEP = 0.01 / (8 / 255)
"""The papers' step of 0.01 at eps = 8/255, as a fraction of eps, so that a suite serves every radius."""

RULES: tuple[GradientRule, ...] = (BPTT(), RateGradient())


def rule_name(rule: GradientRule | None) -> str:
    """The name of a rule in records: its kind, with the settings that differ from the defaults; "own" for none."""
    return "own" if rule is None else str(rule).removesuffix("()")


class Entry(Choice):
    """One attack of a suite under the name by which it is reported, e.g. "pgd-7/bptt"."""

    name: str = Field(min_length=1)
    attack: Attack

    @property
    def gradient(self) -> InputGradient | None:
        """The attack's way to the gradient, if it uses one."""
        found = getattr(self.attack, "gradient", None)
        return found if isinstance(found, InputGradient) else None


class Suite(Choice):
    """Attacks in order, each name once; the worst case per sample is taken over all that keep to the threat."""

    name: str = Field(min_length=1)
    entries: tuple[Entry, ...]

    @field_validator("entries")
    @classmethod
    def _names_differ(cls, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        names = [entry.name for entry in entries]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"results are kept by name, so each may stand once; found twice: {', '.join(twice)}")
        return entries

    def extended(self, required: Sequence[Attack]) -> "Suite":
        """The suite with attacks that a defense declares necessary, under the names "adaptive-1", ..."""
        extra = tuple(Entry(name=f"adaptive-{i}", attack=attack) for i, attack in enumerate(required, 1))
        return Suite(name=self.name, entries=(*self.entries, *extra))

    def without_rules(self) -> "Suite":
        """For a model without spiking neurons: each attack once, with the model's own gradient."""
        kept: dict[str, Entry] = {}
        for entry in self.entries:
            attack = entry.attack
            if entry.gradient is not None:
                attack = attack.model_copy(update={"gradient": entry.gradient.model_copy(update={"rule": None})})
            name = entry.name.partition("/")[0]
            kept.setdefault(name, Entry(name=name, attack=attack))
        return self.model_copy(update={"entries": tuple(kept.values())})


def paper(*, draws: int = 1, rules: Sequence[GradientRule] = RULES) -> Suite:
    """What the papers report: FGSM, RFGSM, PGD-7/10/20/40, BIM-7, CW-L2, Gaussian and uniform noise of 0.1.

    Under BPTT and under the rate gradient. Steps are 0.01 at eps = 8/255 and scale with eps. Iterative attacks stop at
    the first success of a sample, so they are never weaker than the papers' last iterate. SOURCE: METHODS 5.1, 6.6, 6.13.
    """
    entries = []
    for rule in rules:
        gradient = InputGradient(rule=rule, draws=draws)
        # A success seen in one draw of a random model is no success; there the last iterate is judged.
        early = draws == 1
        attacks: list[tuple[str, Attack]] = [("fgsm", fgsm(gradient=gradient)), ("rfgsm", rfgsm(gradient=gradient))]
        attacks.append(("bim-7", bim(steps=7, step_fraction=PAPER_STEP, early_stop=early, gradient=gradient)))
        for steps in (7, 10, 20, 40):
            pgd = PGD(steps=steps, step_fraction=PAPER_STEP, early_stop=early, gradient=gradient)
            attacks.append((f"pgd-{steps}", pgd))
        attacks.append(("cw", CW(gradient=gradient)))
        entries += [Entry(name=f"{name}/{rule_name(rule)}", attack=attack) for name, attack in attacks]
    entries += [Entry(name="gaussian", attack=GaussianNoise()), Entry(name="uniform", attack=UniformNoise())]
    return Suite(name="paper", entries=tuple(entries))


def quick(*, draws: int = 1) -> Suite:
    """FGSM and PGD-10 under BPTT and the rate gradient: a first look, no evidence."""
    kept = [e for e in paper(draws=draws).entries if e.name.startswith(("fgsm", "pgd-10"))]
    return Suite(name="quick", entries=tuple(kept))


SUITES: dict[str, Callable[..., Suite]] = {"paper": paper, "quick": quick}


def suite(name: str, *, draws: int = 1) -> Suite:
    """The suite called `name`, its gradients averaged over `draws`. Raises `UnknownName`."""
    if name not in SUITES:
        raise UnknownName(unknown("suite", name, SUITES))
    return SUITES[name](draws=draws)
