"""A record put to the test: its attacks run again on a random sample of its images."""

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from snnguard.attacks import Attack, Model
from snnguard.errors import RequestError
from snnguard.record import AttackResult, Flags, Record
from snnguard.threat import Threat

from .evaluate import Report, evaluate
from .suite import Entry, Suite


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Of the sampled verdicts `compared`, `differ` came out otherwise; `fell` images stand in the record and fell now."""

    images: int
    compared: int
    differ: int
    fell: int

    @property
    def holds(self) -> bool:
        """Whether the record says what the model does: but for one image in fifty, which rounding on other hardware moves."""
        return self.differ <= 0.02 * self.compared and self.fell <= max(1, 0.02 * self.images)


def verify(
    record: Record, model: Model, x: Tensor, y: Tensor, *, images: int = 50, sample_seed: int = 0, batch_size: int = 128,
    report: Report | None = None,
) -> Verdict:  # fmt: skip
    """Judges a random sample of the images `x` [N, *F] that the record is about, by its own attacks and its own seed.

    Attacks that were crafted on a substitute are left out: the substitute is not part of the record; and so are, in a cascade,
    the images that they turned, which the attacks after them have not seen. Raises `RequestError` if `x` are not as many
    images as the record has.
    """
    if len(x) != len(record.clean):
        raise RequestError(f"the record is about {len(record.clean)} images, found {len(x)}")
    known = [row for row, lost in enumerate(_transferred(record)) if not lost]
    chosen = torch.tensor(sorted(random.Random(sample_seed).sample(known, min(images, len(known)))), dtype=torch.int64)
    entries = tuple(
        Entry(name=r.name, attack=Attack.parse({k: v for k, v in r.attack.items() if k != "bounded"}), radius=r.radius)
        for r in record.attacks
        if not _by_transfer(r)
    )
    suite = Suite(name=record.suite, entries=entries, cascade=record.cascade, repairs=record.repairs)
    draws = max((r.eval_draws for r in record.attacks), default=1)
    found = evaluate(
        model, x[chosen], y[chosen], suite=suite, threat=Threat.parse(record.threat), seed=record.provenance.seed,
        batch_size=batch_size, eval_draws=draws, report=report, provenance=record.provenance,
    )  # fmt: skip
    claimed = [record.clean, *(record.find(entry.name).correct for entry in entries)]
    seen = [found.clean, *(result.correct for result in found.attacks)]
    pairs = [(said.values[i], now.values[n]) for said, now in zip(claimed, seen, strict=True) for n, i in enumerate(chosen)]
    stood = _worst(claimed, chosen.tolist())
    stands = _worst(seen, range(len(chosen)))
    return Verdict(
        images=len(chosen), compared=len(pairs), differ=sum(said != now for said, now in pairs),
        fell=sum(before and not after for before, after in zip(stood, stands, strict=True)),
    )  # fmt: skip


def _by_transfer(result: AttackResult) -> bool:
    return result.name.startswith("transfer-")


def _transferred(record: Record) -> list[bool]:
    """Per image, whether in a cascade one that was crafted on a substitute turned it."""
    standing, lost = record.clean.values, [False] * len(record.clean)
    for result in record.attacks if record.cascade else ():
        after = result.correct.values
        if _by_transfer(result):
            lost = [a or (b and not c) for a, b, c in zip(lost, standing, after, strict=True)]
        standing = after if Record.counts_for_worst(result) else standing
    return lost


def _worst(flags: list[Flags], rows: list[int] | range) -> list[bool]:
    return [all(flag.values[row] for flag in flags) for row in rows]
