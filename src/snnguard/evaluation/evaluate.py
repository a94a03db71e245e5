"""The judge. It sees a model and images, never the defense, and believes no attack: every image is judged again."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snnguard import pages, rng
from snnguard.attacks import Attack, Model, check_labels, predict
from snnguard.attacks.repair import Repaired
from snnguard.errors import InvalidInput
from snnguard.neurons import neurons_of
from snnguard.record import AttackResult, Flags, Interval, Provenance, Record
from snnguard.threat import Threat

from .checks import LEAK, SHARE, examine, probed
from .meter import metered
from .partial import Partial, digest
from .probes import measure
from .provenance import gather
from .suite import Entry, Suite, rule_name


@dataclass(frozen=True, kw_only=True)
class Progress:
    """On the way: the attack, how many of the images that it is run on are done, the worst case so far, this one included."""

    attack: str
    done: int
    total: int
    worst: Interval


REFILL = 4
"""Batches that are attacked together where lost images leave, so that the places in the model's batches go to others.
Few, since this is what an interruption may cost."""

Report = Callable[[Progress], None]


@pages.kept()
def evaluate(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    suite: Suite,
    threat: Threat,
    seed: int = 0,
    name: str = "model",
    labels: Sequence[str] = (),
    required: Sequence[Attack] = (),
    substitutes: Mapping[str, Model] | None = None,
    batch_size: int = 128,
    eval_draws: int | None = None,
    partial: Path | None = None,
    report: Report | None = None,
    provenance: Provenance | None = None,
) -> Record:
    """Judges a model on raw images `x` [N, *F] with classes `y` [N] and returns a record.

    An image counts as withstood if it is classified correctly clean and after the attack; so an attack is only run on
    images that are right clean, and in a cascade on those that no attack before has turned. Random models are judged by the
    mean logits of `eval_draws` (default 10) fresh draws. `required` are attacks that the defense declares necessary;
    `substitutes` are the models, by name, on which the suite crafts images to transfer: those that are not given are
    left out. With `partial`, a folder, finished batches are kept there and an interrupted evaluation goes on; whoever has
    saved the record deletes the folder. `report(progress)` is called after each batch, or each few.

    Raises `InvalidInput` for images or labels that do not fit.
    """
    threat.check(x)
    check_labels(x, y)
    if len(x) == 0:
        raise InvalidInput("there are no images to judge")
    if not (isinstance(model, nn.Module) and neurons_of(model)):
        suite = suite.without_rules()
    given = dict(substitutes or {})
    suite = suite.extended(required).crafted_on(given)
    rules = sorted({e.gradient.rule for e in suite.entries if e.gradient is not None and not e.substitute}, key=rule_name)
    # Before the first call, so that what a call leaves behind is seen and the state to go back to is the one given.
    untouched = Repaired(model, fresh=True) if suite.repairs and isinstance(model, nn.Module) else None
    _check_logits(predict(untouched or model, x[:1]), 1)
    measures = measure(
        model, x, y.long(), rules=rules, threat=threat, seed=seed, batch_size=batch_size,
        fresh=None if untouched is None else untouched.held(),
    )  # fmt: skip
    target: Model = model
    if untouched is not None:
        model, target = _mended(untouched, measures)
    judge = _Judge(model, target, x, y.long(), suite, threat, seed, batch_size, eval_draws, partial, given)
    clean = judge.clean()
    results: list[AttackResult] = []
    standing = clean
    for entry in suite.entries:
        results.append(judge.attacked(entry, standing if suite.cascade else clean, standing, report))
        if Record.counts_for_worst(results[-1]):
            standing = standing & results[-1].correct
    record = Record(
        name=name, threat=threat.to_json(), suite=suite.name, labels=tuple(labels), clean=clean,
        attacks=tuple(_with_share(result, measures) for result in results), suspicions=(), measures=measures,
        stochastic=judge.stochastic, cascade=suite.cascade, repairs=suite.repairs,
        provenance=provenance or gather(seed=seed),
    )  # fmt: skip
    raised, passed = examine(record)
    return replace(record, suspicions=raised, passed=passed)


def _mended(untouched: Repaired, measures: Mapping[str, float]) -> tuple[nn.Module, nn.Module]:
    """What is judged and what is attacked: the model itself where nothing is wrong with it."""
    leaks = measures["state-gap"] > LEAK
    judged = untouched if leaks else untouched.model
    ours = neurons_of(untouched.model)
    bridged = [
        name for name, share in probed(measures, "gradient-stops/") if share > SHARE and name not in ours
    ]  # fmt: skip
    blind = measures.get("blind-in-eval", 0.0) > SHARE
    if not (leaks or bridged or blind):
        return judged, judged
    return judged, untouched.mending(bridged=() if blind else bridged, awake=blind, fresh=leaks)


def _check_logits(logits: Tensor, images: int) -> None:
    if logits.ndim != 2 or len(logits) != images:
        raise InvalidInput(f"a model must return logits [N, K]; this one returned {tuple(logits.shape)}")


def _with_share(result: AttackResult, measures: Mapping[str, float]) -> AttackResult:
    return replace(result, zero_gradient_share=measures.get(f"zero-gradient/{result.rule}"))


class _Judge:
    def __init__(
        self, model: Model, target: Model, x: Tensor, y: Tensor, suite: Suite, threat: Threat, seed: int, batch_size: int,
        eval_draws: int | None, partial: Path | None, substitutes: Mapping[str, Model],
    ) -> None:  # fmt: skip
        self.model, self.x, self.y, self.threat, self.seed, self.batch_size = model, x, y, threat, seed, batch_size
        self.target, self.substitutes = target, substitutes
        logits = self._two_looks()
        self.stochastic = not torch.equal(*logits)
        self.eval_draws = eval_draws or (10 if self.stochastic else 1)
        asked = [suite.to_json(), threat.to_json(), seed, batch_size, REFILL, self.eval_draws]
        # The weights alone do not say what the network computes (steps, encoder, neuron), so its logits are part of the key.
        looks = [*logits, *(predict(other, x[:32]) for other in substitutes.values())]
        self.partial = Partial(partial, digest(model, [x, y, *looks], asked))

    def clean(self) -> Flags:
        return Flags(tuple(self._right(self.x, self.y, "clean").tolist()))

    def attacked(self, entry: Entry, asked: Flags, standing: Flags, report: Report | None) -> AttackResult:
        """Runs one attack on the samples `asked`; `standing` are those that no attack before has turned."""
        correct, left = torch.tensor(asked.values), torch.tensor(standing.values)
        chosen = correct.nonzero().flatten()
        sums, finished = dict.fromkeys(("linf", "l2", "seconds", "forwards", "backwards"), 0.0), 0
        for number, index in enumerate(self._together(entry.attack, chosen)):
            done = self.partial.get(entry.name, number)
            if done is None or len(done["right"]) != len(index):  # an attack that was cut into other parts then
                done = self._batch(entry, index)
                self.partial.put(entry.name, number, done)
            correct[index] = torch.tensor(done["right"], dtype=torch.bool)
            sums = {name: total + done[name] for name, total in sums.items()}
            finished += len(index)
            if report is not None:
                worst = Flags(tuple((left & correct).tolist() if entry.counts else left.tolist()))
                report(Progress(attack=entry.name, done=finished, total=len(chosen), worst=worst.interval))
        gradient = entry.gradient
        return AttackResult(
            name=entry.name, attack={**entry.attack.to_json(), "bounded": entry.attack.bounded},
            rule=rule_name(gradient.rule) if gradient and not entry.substitute else "", correct=Flags(tuple(correct.tolist())),
            seed=self._seed(entry.name), seconds=round(sums["seconds"], 3), draws=gradient.draws if gradient else 1,
            eval_draws=self.eval_draws, mean_linf=sums["linf"] / max(1, len(chosen)), mean_l2=sums["l2"] / max(1, len(chosen)),
            attacked=len(chosen), radius=self._radius(entry),
            forwards=int(sums["forwards"]), backwards=int(sums["backwards"]),
        )  # fmt: skip

    def _together(self, attack: Attack, chosen: Tensor) -> Sequence[Tensor]:
        """The samples, in the parts in which they are attacked: as ever for a random model, whose draws would be others."""
        size = self.batch_size * (REFILL if attack.thins_out and not self.stochastic else 1)
        return [chosen[i : i + size] for i in range(0, len(chosen), size)]

    def _batch(self, entry: Entry, chosen: Tensor) -> dict[str, Any]:
        began = time.perf_counter()
        x, y = self.x[chosen], self.y[chosen]
        crafting = self.substitutes[entry.substitute] if entry.substitute else self.target
        threat = self.threat.model_copy(update={"eps": self._radius(entry) * self.threat.eps})
        with metered(crafting) as cost:
            x_adv = entry.attack(
                crafting, x, y, threat=threat, seed=self._seed(entry.name), batch_size=self.batch_size
            )  # fmt: skip
        moved = (x_adv - x).flatten(1)
        return {
            "right": self._right(x_adv, y, entry.name).tolist(),
            "linf": float(moved.abs().amax(1).sum()),
            "l2": float(moved.norm(dim=1).sum()),
            "seconds": time.perf_counter() - began,
            "forwards": cost.forwards,
            "backwards": cost.backwards,
        }

    def _radius(self, entry: Entry) -> float:
        """In multiples of eps; the whole range is as far as two images of it can be from each other."""
        if entry.radius is not None:
            return entry.radius
        ends = (torch.full_like(self.x[:1], end) for end in (self.threat.high, self.threat.low))
        return float(self.threat.distance(*ends)) / self.threat.eps if self.threat.eps else 0.0

    def _two_looks(self) -> list[Tensor]:
        """The logits of the first images under two seeds; they differ where the model is random."""
        x = self.x[: min(32, len(self.x))]
        logits = []
        for seed in (0, 1):
            with rng.scope(rng.derive(self.seed, "stochastic", seed)):
                logits.append(predict(self.model, x))
        return logits

    def _right(self, x: Tensor, y: Tensor, purpose: str) -> Tensor:
        with rng.scope(rng.derive(self._seed(purpose), "judgement")):
            logits = predict(self.model, x, draws=self.eval_draws, batch_size=self.batch_size)
        _check_logits(logits, len(x))
        check_labels(x, y, logits.shape[1])
        return (logits.argmax(1) == y).cpu()

    def _seed(self, name: str) -> int:
        return rng.derive(self.seed, name)
