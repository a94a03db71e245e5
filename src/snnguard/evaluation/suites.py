"""The suites by name."""

from collections.abc import Callable, Sequence

from snnguard.attacks import CW, PGD, Attack, GaussianNoise, InputGradient, UniformNoise, bim, fgsm, rfgsm
from snnguard.choice import unknown
from snnguard.errors import UnknownName
from snnguard.neurons import BPTT, GradientRule, RateGradient

from .suite import Entry, Suite, rule_name

PAPER_STEP = 0.01 / (8 / 255)
"""The papers' step of 0.01 at eps = 8/255, as a fraction of eps, so that a suite serves every radius."""

RULES: tuple[GradientRule, ...] = (BPTT(), RateGradient())


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
