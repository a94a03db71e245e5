"""Suspicions: reasons to distrust a number, each a small function from evidence to findings."""

from collections.abc import Callable
from dataclasses import dataclass

from snnguard.record import AttackResult, Flags, Suspicion


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the checks look at. `zero_gradients`: per rule the share of images whose whole input gradient is zero.

    `forward_gap`: per rule the largest difference between its logits and the model's own; `stochastic`: whether two
    calls differ.
    """

    clean: Flags
    results: tuple[AttackResult, ...]
    zero_gradients: dict[str, float]
    forward_gap: dict[str, float]
    stochastic: bool


Check = Callable[[Evidence], list[Suspicion]]

ZERO_GRADIENT_LIMIT = 0.05


def gap_limit(results: AttackResult) -> float:
    """The least difference of two accuracies that is taken seriously: one point, and no fewer than four images."""
    return max(0.01, 3.5 / max(1, len(results.correct)))


def zero_gradients(evidence: Evidence) -> list[Suspicion]:
    """An attacker without a gradient leaves an image untouched, which is no robustness."""
    return [
        Suspicion(
            code="zero-gradient",
            message=f"under the {rule} gradient {100 * share:.1f} % of the images have no gradient at all; attacks that use it "
            "cannot move them",
            measured=share,
            limit=ZERO_GRADIENT_LIMIT,
        )
        for rule, share in evidence.zero_gradients.items()
        if share > ZERO_GRADIENT_LIMIT
    ]


def fgsm_beats_pgd(evidence: Evidence) -> list[Suspicion]:
    """One step should never do more than many; if it does, the gradient misleads the iteration."""
    found = []
    for one in _named(evidence, "fgsm"):
        for many in evidence.results:
            if many.name.startswith(("pgd-", "bim-")) and many.rule == one.rule:
                gap = many.accuracy.point - one.accuracy.point
                if gap > gap_limit(one):
                    message = f"{one.name} leaves {100 * gap:.1f} points less than {many.name}: gradients are masked"
                    found.append(Suspicion(code="fgsm-beats-pgd", message=message, measured=gap, limit=gap_limit(one)))
    return found


def more_steps_weaker(evidence: Evidence) -> list[Suspicion]:
    """PGD with more steps should not leave more standing."""
    found = []
    runs = sorted(_named(evidence, "pgd-"), key=lambda r: int(r.attack["steps"]))
    for short in runs:
        for long in runs:
            gap = long.accuracy.point - short.accuracy.point
            if long.rule == short.rule and long.attack["steps"] > short.attack["steps"] and gap > gap_limit(long):
                message = f"{long.name} leaves {100 * gap:.1f} points more than {short.name}: the iteration does not converge"
                found.append(Suspicion(code="steps-do-not-help", message=message, measured=gap, limit=gap_limit(long)))
    return found


def other_rule_stronger(evidence: Evidence) -> list[Suspicion]:
    """Where another gradient rule attacks better than the training surrogate, the surrogate hides something."""
    found = []
    for own in _named(evidence, "pgd-"):
        for other in _named(evidence, "pgd-"):
            same_attack = own.name.partition("/")[0] == other.name.partition("/")[0]
            gap = own.accuracy.point - other.accuracy.point
            if same_attack and own.rule == "bptt" != other.rule and gap > gap_limit(own):
                message = (
                    f"{other.name} leaves {100 * gap:.1f} points less than {own.name}: the training surrogate under-attacks"
                )
                found.append(Suspicion(code="other-rule-stronger", message=message, measured=gap, limit=gap_limit(own)))
    return found


def forward_differs(evidence: Evidence) -> list[Suspicion]:
    """A rule that moves the forward pass attacks another network than the one that is judged."""
    return [
        Suspicion(
            code="forward-differs",
            message=f"the logits under the {rule} gradient differ from the model's own by {gap:.3g}",
            measured=gap,
            limit=0.0,
        )
        for rule, gap in evidence.forward_gap.items()
        if gap > 0
    ]


def one_draw(evidence: Evidence) -> list[Suspicion]:
    """A random model needs gradients averaged over draws, and judgement on fresh ones."""
    if not evidence.stochastic:
        return []
    names = [r.name for r in evidence.results if r.rule and r.draws == 1]
    if not names:
        return []
    message = f"the model is random, but these attacks averaged over one draw only: {', '.join(names)}"
    return [Suspicion(code="one-draw", message=message, measured=1.0, limit=2.0)]


CHECKS: tuple[Check, ...] = (
    zero_gradients,
    fgsm_beats_pgd,
    more_steps_weaker,
    other_rule_stronger,
    forward_differs,
    one_draw,
)


def suspicions(evidence: Evidence) -> tuple[Suspicion, ...]:
    """What all checks find."""
    return tuple(found for check in CHECKS for found in check(evidence))


def _named(evidence: Evidence, prefix: str) -> list[AttackResult]:
    return [result for result in evidence.results if result.name.startswith(prefix)]
