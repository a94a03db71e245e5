"""The suites by name: what each asks of a model, given what the attacker knows of it."""

import math
from collections.abc import Callable, Sequence

from pydantic import Field

from snnguard.attacks import (
    APGD,
    CW,
    DLR,
    FAB,
    PGD,
    SAPGD,
    Attack,
    Corruption,
    CrossEntropy,
    GaussianNoise,
    InputGradient,
    Loss,
    RandomSearch,
    Square,
    UniformNoise,
    apgd_t,
    bim,
    fgsm,
    mifgsm,
    rfgsm,
)  # fmt: skip
from snnguard.attacks.corruption import NAMES
from snnguard.attacks.ensemble import members
from snnguard.choice import Choice, unknown
from snnguard.errors import UnknownName
from snnguard.neurons import ASSG, BPTT, HART, PDSG, ATan, FiredMask, GradientRule, RateGradient, Triangle

from .suite import Entry, Suite, rule_name

PAPER_STEP = 0.01 / (8 / 255)
"""The papers' step of 0.01 at eps = 8/255, as a fraction of eps, so that a suite serves every radius."""

RULES: tuple[GradientRule, ...] = (BPTT(), RateGradient())


WIDTHS: tuple[BPTT, ...] = (BPTT(), BPTT(surrogate=ATan(alpha=2)), BPTT(surrogate=Triangle(gamma=0.5)))
"""Gradients through time: by the training surrogate, by one with long tails, by a narrow one."""

GRADIENTS, GRADIENTS_RANDOM = 6, 2
"""Under how many of `Attacker.ranked` `spike` attacks a deterministic model, and a random one. There AutoAttack has two attacks
and each gradient costs all its draws; two keep the cost within its fourfold."""


class Attacker(Choice):
    """What the attacker knows before he begins: how many draws a random model needs, which gradients attack this model best,
    the strongest first (`tuning.tune` ranks them and finds their constants), and which substitutes he has trained."""

    draws: int = Field(default=1, ge=1)
    ranked: tuple[GradientRule, ...] = Field(
        default=(BPTT(), ASSG(), RateGradient(), HART(), *WIDTHS[1:], PDSG(), FiredMask()), min_length=1
    )
    substitutes: tuple[str, ...] = ()

    def gradient(self, rule: GradientRule | None, *, loss: Loss | None = None) -> InputGradient:
        return InputGradient(rule=rule, draws=self.draws, loss=loss or CrossEntropy())

    @property
    def early(self) -> bool:
        """Whether one success is proof: not in a random model, where the last iterate is judged."""
        return self.draws == 1

    @property
    def best(self) -> GradientRule:
        return self.ranked[0]


def paper(attacker: Attacker, *, rules: Sequence[GradientRule] = RULES) -> Suite:
    """What the papers report: FGSM, RFGSM, PGD-7/10/20/40, BIM-7, CW-L2, Gaussian and uniform noise of 0.1.

    Under BPTT and under the rate gradient. Steps are 0.01 at eps = 8/255 and scale with eps. Iterative attacks stop at
    the first success of a sample, so they are never weaker than the papers' last iterate. SOURCE: METHODS 5.1, 6.6, 6.13.
    """
    entries = []
    for rule in rules:
        gradient, early = attacker.gradient(rule), attacker.early
        attacks: list[tuple[str, Attack]] = [("fgsm", fgsm(gradient=gradient)), ("rfgsm", rfgsm(gradient=gradient))]
        attacks.append(("bim-7", bim(steps=7, step_fraction=PAPER_STEP, early_stop=early, gradient=gradient)))
        for steps in (7, 10, 20, 40):
            pgd = PGD(steps=steps, step_fraction=PAPER_STEP, early_stop=early, gradient=gradient)
            attacks.append((f"pgd-{steps}", pgd))
        attacks.append(("cw", CW(gradient=gradient)))
        entries += [Entry(name=f"{name}/{rule_name(rule)}", attack=attack) for name, attack in attacks]
    entries += [Entry(name="gaussian", attack=GaussianNoise()), Entry(name="uniform", attack=UniformNoise())]
    return Suite(name="paper", entries=tuple(entries))


def quick(attacker: Attacker, *, steps: int = 50) -> Suite:
    """The best two minutes: FGSM and PGD-10 under BPTT and the rate gradient, as in `paper`, and APGD on two losses under ASSG.

    On the networks of docs/attacks.md it finds nearly all that `spike` finds, for a small part of its passes. Nothing is tuned,
    and nobody has looked for masking: for choosing, no evidence.
    """
    early, adaptive = attacker.early, ASSG()
    entries = []
    for rule in RULES:
        gradient = attacker.gradient(rule)
        pgd = PGD(steps=min(10, steps), step_fraction=PAPER_STEP, early_stop=early, gradient=gradient)
        entries += [_entry("fgsm", fgsm(gradient=gradient), rule), _entry(f"pgd-{pgd.steps}", pgd, rule)]
    for name, loss in (("ce", CrossEntropy()), ("dlr", DLR())):
        apgd = APGD(steps=steps, early_stop=early, gradient=attacker.gradient(adaptive, loss=loss))
        entries.append(_entry(f"apgd-{name}-{steps}", apgd, adaptive))
    return Suite(name="quick", entries=tuple(entries))


def standard(attacker: Attacker) -> Suite:
    """AutoAttack under the best gradient rule: standard, or rand for random models. SOURCE: Croce & Hein 2020."""
    rule = attacker.best
    version = members("standard" if attacker.early else "rand", attacker.gradient(rule))
    return Suite(name="standard", entries=tuple(_entry(name, attack, rule) for name, attack in version.items()), cascade=True)


def spike(attacker: Attacker, *, steps: int = 100, queries: int = 5000) -> Suite:
    """The recommended one, to be used without parameters: `quick`, SA-PGD, APGD and APGD-T under the `GRADIENTS` that attack
    this model best, transfer from the substitutes, FAB-T, and Square. Each sees the survivors of those before; cheap ones
    come first. Of a random model, whose every look costs all draws: APGD on the DLR in place of APGD-T, as in AutoAttack's
    version for them, no FAB-T, and a fiftieth of the queries.
    """
    entries = list(quick(attacker, steps=min(50, steps)).entries)
    early, random = attacker.early, not attacker.early
    rules = attacker.ranked[: GRADIENTS_RANDOM if random else GRADIENTS]
    for rule in rules:
        gradient = attacker.gradient(rule)
        entries.append(_entry("sa-pgd", SAPGD(steps=steps, early_stop=early, gradient=gradient), rule))
        entries.append(_entry("apgd-ce", APGD(steps=steps, early_stop=early, gradient=gradient), rule))
    entries += _transfer(attacker)
    if random:
        entries += [_entry("apgd-dlr", APGD(steps=steps, gradient=attacker.gradient(rule, loss=DLR())), rule) for rule in rules]
    else:
        entries += [_entry("apgd-t", apgd_t(steps=steps, gradient=attacker.gradient(rule)), rule) for rule in rules]
        entries.append(_entry("fab-t", FAB(steps=steps, gradient=attacker.gradient(attacker.best)), attacker.best))
    queries = math.ceil(queries / 50) if random else queries
    entries.append(Entry(name="square", attack=Square(queries=queries, draws=attacker.draws)))
    return Suite(name="spike", entries=tuple(entries), cascade=True, repairs=True)


def noise(attacker: Attacker) -> Suite:  # noqa: ARG001
    """Gaussian noise of three sizes and uniform noise of three widths: no attacker, and no evidence against one."""
    entries = [Entry(name=f"gaussian-{std}", attack=GaussianNoise(std=std)) for std in (0.05, 0.1, 0.2)]
    entries += [Entry(name=f"uniform-{radius}", attack=UniformNoise(radius=radius)) for radius in (0.05, 0.1, 0.2)]
    return Suite(name="noise", entries=tuple(entries))


def common(attacker: Attacker) -> Suite:  # noqa: ARG001
    """The 15 corruptions of CIFAR-10-C at severities 1, 3 and 5: no attacker. SOURCE: Hendrycks & Dietterich 2019."""
    entries = [Entry(name=f"{n}-{s}", attack=Corruption(name=n, severity=s)) for n in NAMES for s in (1, 3, 5)]
    return Suite(name="common", entries=tuple(entries))


def checks(attacker: Attacker) -> Suite:
    """What the suspicions compare: one step and many, twenty and a hundred, balls up to the whole range, two gradient rules,
    random search, Square and transfer. Each on every image, so that they can be compared."""
    own, rate = BPTT(), RateGradient()

    def pgd(steps: int, rule: GradientRule) -> PGD:
        gradient = attacker.gradient(rule)
        return PGD(steps=steps, step_fraction=2.5 / steps, early_stop=attacker.early, gradient=gradient)

    entries = [_entry("fgsm", fgsm(gradient=attacker.gradient(own)), own)]
    entries += [_entry(f"pgd-{steps}", pgd(steps, own), own) for steps in (20, 100)]
    entries += [_entry("pgd-20", pgd(20, rate), rate)]
    entries += [Entry(name=f"pgd-20@{radius:g}/{rule_name(own)}", attack=pgd(20, own), radius=radius) for radius in (0.5, 2, 4)]
    entries.append(Entry(name=f"pgd-20@range/{rule_name(own)}", attack=pgd(20, own), radius=None))
    entries += [Entry(name="random-search", attack=RandomSearch(points=200, draws=attacker.draws))]
    entries += [Entry(name="square", attack=Square(queries=1000, draws=attacker.draws)), *_transfer(attacker)]
    return Suite(name="checks", entries=tuple(entries))


SUITES: dict[str, Callable[[Attacker], Suite]] = {
    "paper": paper, "quick": quick, "standard": standard, "spike": spike, "noise": noise, "common": common, "checks": checks,
}  # fmt: skip

TUNED = CASCADES = frozenset({"standard", "spike"})
"""The suites that ask which constants and which rule suit the model best; the same ones are cascades."""


def suite(name: str, *, draws: int = 1, attacker: Attacker | None = None) -> Suite:
    """The suite called `name`, its gradients averaged over `draws`, or as `attacker` knows. Raises `UnknownName`."""
    if name not in SUITES:
        raise UnknownName(unknown("suite", name, SUITES))
    return SUITES[name](attacker or Attacker(draws=draws))


def _entry(name: str, attack: Attack, rule: GradientRule) -> Entry:
    entry = Entry(name=name, attack=attack)
    return entry if entry.gradient is None else entry.model_copy(update={"name": f"{name}/{rule_name(rule)}"})


def _transfer(attacker: Attacker) -> list[Entry]:
    """Momentum carries over to other networks better than the last digit of a loss does. SOURCE: Dong 2018."""
    crafted = mifgsm(steps=20, step_fraction=0.125, gradient=attacker.gradient(None))
    return [Entry(name=f"transfer-{name}", attack=crafted, substitute=name) for name in attacker.substitutes]
