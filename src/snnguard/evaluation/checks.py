"""Suspicions: reasons to distrust a number. Each check compares something measured with a limit, and says what it found.

A check sees the record alone, so it can be repeated on a merged or an old one. docs/suspicions.md has a paragraph on each.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import permutations
from typing import Any

from snnguard.record import AttackResult, Flags, Record, Suspicion

from .suites import SUITES, Attacker

Check = Callable[[Record], Iterator[Suspicion]]

CHECKS: dict[str, Check] = {}
"""Every check by the code of its suspicion."""


def check(code: str) -> Callable[[Callable[[Record], Iterator[tuple[float, float, str]]]], Check]:
    """Registers a function that yields (measured, limit, message) for each comparison that it can make."""

    def register(compare: Callable[[Record], Iterator[tuple[float, float, str]]]) -> Check:
        def run(record: Record) -> Iterator[Suspicion]:
            for measured, limit, message in compare(record):
                yield Suspicion(code=code, message=message, measured=measured, limit=limit)

        CHECKS[code] = run
        return run

    return register


def examine(record: Record) -> tuple[tuple[Suspicion, ...], tuple[Suspicion, ...]]:
    """The suspicions that are raised, and the checks that found nothing: per code the one that came closest."""
    raised: list[Suspicion] = []
    passed: list[Suspicion] = []
    for run in CHECKS.values():
        found = list(run(record))
        raised += [s for s in found if s.raised]
        if found and not any(s.raised for s in found):
            passed.append(max(found, key=lambda s: s.measured - s.limit))
    return tuple(raised), tuple(passed)


def gap_limit(*results: AttackResult) -> float:
    """The least difference of two accuracies that is taken seriously: one point, and no fewer than four images."""
    return max(0.01, 3.5 / max(1, min(len(r.correct) for r in results)))


SHARE = 0.05
"""Of how many images something must hold before it is suspicious."""


LEAK = 1e-3
"""By how much logits may differ between two calls: rounding."""


@check("fgsm-beats-pgd")
def fgsm_beats_pgd(record: Record) -> Iterator[tuple[float, float, str]]:
    """One step should never do more than many; if it does, the gradient misleads the iteration."""
    for one in _alone(record, "fgsm"):
        for many in _alone(record, "pgd-", "bim-"):
            if many.rule == one.rule and many.radius == one.radius:
                gap = many.accuracy.point - one.accuracy.point
                said = f"{one.name} leaves {_points(gap)} less than {many.name}: gradients are masked"
                yield gap, gap_limit(one), said


@check("steps-do-not-help")
def steps_do_not_help(record: Record) -> Iterator[tuple[float, float, str]]:
    """PGD with more steps should not leave more standing."""
    for short, long in _by_steps(record):
        gap = long.accuracy.point - short.accuracy.point
        yield gap, gap_limit(long), f"{long.name} leaves {_points(gap)} more than {short.name}: the iteration does not converge"


@check("not-converged")
def not_converged(record: Record) -> Iterator[tuple[float, float, str]]:
    """If a hundred steps still do much more than twenty, so would a thousand: the number is not final."""
    for short, long in _by_steps(record):
        if short.attack["steps"] >= 20 and long.attack["steps"] >= 5 * short.attack["steps"]:
            gap = short.accuracy.point - long.accuracy.point
            limit = max(0.03, gap_limit(long))
            yield gap, limit, f"{long.name} still leaves {_points(gap)} less than {short.name}: take more steps"


@check("few-steps")
def few_steps(record: Record) -> Iterator[tuple[float, float, str]]:
    """APGD looks at its step size at checkpoints; with few steps they come too soon after each other to learn anything."""
    for result in record.attacks:
        for inner in _within(result.attack):
            if inner.get("kind") == "apgd":
                said = f"{result.name} is APGD with {inner['steps']} steps; plain PGD is often stronger below 50"
                yield 50 - inner["steps"], 0.0, said


@check("less-than-named")
def less_than_named(record: Record) -> Iterator[tuple[float, float, str]]:
    """The name of a suite promises its attacks at their full length."""
    if record.suite in SUITES:
        run = [result for result in record.attacks if not result.name.startswith(("adaptive-", "transfer-"))]
        promised = SUITES[record.suite](Attacker(draws=max((result.draws for result in run), default=1)))
        if all(result.rule in ("own", "") for result in run):
            promised = promised.without_rules()
        left, missing = Counter((_kind(r.attack), _length(r.attack), r.radius) for r in run), list[str]()
        for entry in sorted(promised.entries, key=lambda entry: -_length(entry.attack.to_json())):
            kind, length = _kind(entry.attack.to_json()), _length(entry.attack.to_json())
            fits = [found for found in left if found[0] == kind and found[1] >= length and _as_far(found[2], entry.radius)]
            if fits:
                left -= Counter([min(fits, key=lambda found: found[1])])
            else:
                missing.append(f"{kind} ({length:g})" if length else kind)
        said = ", ".join(f"{count} x {name}" for name, count in Counter(missing).items())
        yield len(missing), 0.0, f"called {record.suite}, but without {said}"


@check("larger-radius-weaker")
def larger_radius_weaker(record: Record) -> Iterator[tuple[float, float, str]]:
    """A larger ball contains the smaller one, so an attack in it cannot do less unless it loses its way."""
    for near, far in permutations(_alone(record, ""), 2):
        if near.rule == far.rule and _family(near) == _family(far) and near.radius < far.radius:
            gap = far.accuracy.point - near.accuracy.point
            yield gap, gap_limit(far), f"{far.name} leaves {_points(gap)} more than {near.name} in its smaller ball"


@check("unbounded-survives")
def unbounded_survives(record: Record) -> Iterator[tuple[float, float, str]]:
    """With the whole range at its disposal an attack succeeds on every image, or it is broken."""
    for result in _alone(record, ""):
        if result.name.partition("/")[0].endswith("@range"):
            left = result.accuracy.point
            yield left, SHARE, f"{result.name} may change every pixel to any value and still leaves {100 * left:.1f} %"


@check("other-rule-stronger")
def other_rule_stronger(record: Record) -> Iterator[tuple[float, float, str]]:
    """Where another gradient rule attacks better than the training surrogate, the surrogate hides something."""
    for own, other in permutations(_alone(record, "pgd-"), 2):
        if own.name.partition("/")[0] == other.name.partition("/")[0] and own.rule == "bptt" != other.rule:
            gap = own.accuracy.point - other.accuracy.point
            said = f"{other.name} leaves {_points(gap)} less than {own.name}: the training surrogate under-attacks"
            yield gap, gap_limit(own), said


@check("black-box-stronger")
def black_box_stronger(record: Record) -> Iterator[tuple[float, float, str]]:
    """Who sees the gradient should break whatever falls without it."""
    yield from _only_without_gradient(record, ("square", "transfer"), "the gradients point the wrong way")


@check("random-search-stronger")
def random_search_stronger(record: Record) -> Iterator[tuple[float, float, str]]:
    """Random points of the ball should find nothing that the gradient did not."""
    yield from _only_without_gradient(record, ("random-search",), "the white-box attacks are not attacks")


@check("zero-gradient")
def zero_gradient(record: Record) -> Iterator[tuple[float, float, str]]:
    """An attacker without a gradient leaves an image untouched, which is no robustness."""
    for rule, share in probed(record.measures, "zero-gradient/"):
        said = f"under the {rule} gradient {100 * share:.1f} % of the images have no gradient at all; attacks that use it "
        yield share, SHARE, said + "cannot move them"


@check("gradient-stops")
def gradient_stops(record: Record) -> Iterator[tuple[float, float, str]]:
    """A layer that passes values forward and no gradient back hides the network behind it."""
    for module, share in probed(record.measures, "gradient-stops/"):
        yield (
            share,
            SHARE,
            f"the gradient reaches the output of {module} but not its input, for {100 * share:.0f} % of the images",
        )


@check("loss-stays")
def loss_stays(record: Record) -> Iterator[tuple[float, float, str]]:
    """Twenty steps along the gradient must raise the loss."""
    for _, share in probed(record.measures, "loss-stays"):
        yield share, SHARE, f"PGD-20 does not raise the loss of {100 * share:.1f} % of the images"


@check("saturated")
def saturated(record: Record) -> Iterator[tuple[float, float, str]]:
    """A loss of exactly zero has no gradient in this precision; only losses on differences of logits still attack."""
    for _, share in probed(record.measures, "saturated"):
        yield share, SHARE, f"the cross-entropy of {100 * share:.1f} % of the images rounds to 0: its gradient is lost"


@check("rules-disagree")
def rules_disagree(record: Record) -> Iterator[tuple[float, float, str]]:
    """Two gradients of one network that have nothing to do with each other cannot both be good."""
    for pair, value in probed(record.measures, "cosine/"):
        one, _, other = pair.partition("~")
        yield 0.01 - value, 0.0, f"the gradients of {one} and {other} are as good as unrelated: mean cosine {value:.3f}"


@check("dead-channels")
def dead_channels(record: Record) -> Iterator[tuple[float, float, str]]:
    """Channels that never fire carry neither signal nor gradient."""
    for _, share in probed(record.measures, "dead-channels"):
        yield share, 0.5, f"{100 * share:.0f} % of the channels never fire: most of the network is switched off"


@check("narrow-window")
def narrow_window(record: Record) -> Iterator[tuple[float, float, str]]:
    """A surrogate that is zero almost everywhere gives the attacker almost nothing, and the network no protection."""
    for _, share in probed(record.measures, "outside-window"):
        said = f"{100 * share:.1f} % of the membrane potentials lie outside the surrogate's window: it hides the gradient; "
        yield share, 0.98, said + "attack with a wider one"


@check("forward-differs")
def forward_differs(record: Record) -> Iterator[tuple[float, float, str]]:
    """A rule that moves the forward pass attacks another network than the one that is judged."""
    for rule, gap in probed(record.measures, "forward-gap/"):
        yield gap, 0.0, f"the logits under the {rule} gradient differ from the model's own by {gap:.3g}"


@check("state-leaks")
def state_leaks(record: Record) -> Iterator[tuple[float, float, str]]:
    """What one call leaves behind changes the next: verdicts depend on what was judged before."""
    for _, gap in probed(record.measures, "state-gap"):
        said = f"after another call the same images have other logits (by {gap:.3g}): the model keeps its state; reset it"
        yield gap, LEAK, said


@check("modes-differ")
def modes_differ(record: Record) -> Iterator[tuple[float, float, str]]:
    """Apart from normalisation and dropout, training mode should change nothing: else the attacker sees another network."""
    for _, gap in probed(record.measures, "mode-gap"):
        yield gap, 1e-3, f"in training mode the logits differ by {gap:.3g}, normalisation and dropout apart"


@check("blind-in-eval")
def blind_in_eval(record: Record) -> Iterator[tuple[float, float, str]]:
    """SpikingJelly's trap: a neuron that has a surrogate gradient in training mode only."""
    for _, share in probed(record.measures, "blind-in-eval"):
        yield share, SHARE, f"{100 * share:.1f} % of the images have a gradient in training mode and none in eval mode"


@check("probabilities")
def probabilities(record: Record) -> Iterator[tuple[float, float, str]]:
    """Attacks want logits; a softmax at the end flattens their losses (APGD's DLR, the margin) and the cross-entropy twice."""
    for _, share in probed(record.measures, "probabilities"):
        yield share, 0.5, f"the outputs of {100 * share:.0f} % of the images look like probabilities; return logits"


@check("one-draw")
def one_draw(record: Record) -> Iterator[tuple[float, float, str]]:
    """A random model needs gradients averaged over draws, and judgement on fresh ones."""
    if record.stochastic:
        names = [r.name for r in record.attacks if r.rule and r.draws == 1]
        yield len(names), 0.0, f"the model is random, but these attacks averaged over one draw only: {', '.join(names)}"


def _within(attack: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """An attack as JSON, and those inside it."""
    yield attack
    for inner in (*attack.get("attacks", ()), *([attack["attack"]] if "attack" in attack else ())):
        yield from _within(inner)


def _as_far(radius: float, asked: float | None) -> bool:
    """Whether a result of this radius answers for the one asked; None is the whole range, beyond every ball of a suite."""
    return radius == asked or (asked is None and radius > 4)


def _kind(attack: Mapping[str, Any]) -> str:
    """What an attack is, e.g. "multi-targeted apgd"."""
    return " ".join(str(part["kind"]) for part in _within(attack))


def _length(attack: Mapping[str, Any]) -> float:
    """For how many steps or queries it looks, where it is counted."""
    lengths = ("steps", "queries", "points")
    return max((float(part[key]) for part in _within(attack) for key in lengths if key in part), default=0.0)


def probed(measures: Mapping[str, float], prefix: str) -> Iterator[tuple[str, float]]:
    """What was measured under names that begin with `prefix`, by the rest of the name."""
    for name, value in measures.items():
        if name.startswith(prefix) and not math.isnan(value):
            yield name.removeprefix(prefix), value


def _alone(record: Record, *prefixes: str) -> list[AttackResult]:
    """The results that say what their attack does by itself: not those of a cascade, which see what others left."""
    return [r for r in record.attacks if r.name.startswith(prefixes) and r.attacked in (None, record.clean.hits)]


def _family(result: AttackResult) -> str:
    """The name of an attack without its rule and its radius: "pgd-20" of "pgd-20@4/bptt"."""
    return result.name.partition("/")[0].partition("@")[0]


def _by_steps(record: Record) -> Iterator[tuple[AttackResult, AttackResult]]:
    for short, long in permutations(_alone(record, "pgd-"), 2):
        alike = long.rule == short.rule and long.radius == short.radius
        if alike and long.attack["steps"] > short.attack["steps"]:
            yield short, long


def _only_without_gradient(record: Record, kinds: tuple[str, ...], why: str) -> Iterator[tuple[float, float, str]]:
    white = [r for r in _alone(record, "") if r.rule and Record.counts_for_worst(r) and not r.name.startswith(kinds)]
    if not white:
        return
    standing = Flags(record.clean.values)
    for result in white:
        standing = standing & result.correct
    for result in _alone(record, *kinds):
        broken = standing.hits - (standing & result.correct).hits
        share = broken / max(1, len(record.clean))
        said = f"{result.name} breaks {broken} images that no attack with a gradient breaks: {why}"
        yield share, gap_limit(result), said


def _points(gap: float) -> str:
    return f"{100 * gap:.1f} points"
