"""What the numbers of a report mean, in two plain sentences and a warning, computed from the numbers alone.

Two accuracies are called different only if their 95 % intervals do not overlap, which asks for more than a test of the
difference would: these sentences stay silent rather than claim too much.
"""

from collections.abc import Sequence

from snnguard.record import Interval, Record

from .table import column_of, full, names, strongest, threat_text

FEW = 6
"""Of more records than these the sentences name only the extremes."""


def sentences(records: Sequence[Record]) -> str:
    """Two sentences: who stands best under the worst case, and what it costs in clean accuracy.

    The first record is the undefended baseline if its name contains "undefended".
    """
    if not records:
        return "There are no records to explain."
    named = list(zip(names(records), records, strict=True))
    empty = [name for name, record in named if not len(record.clean)]
    judged = [(name, record) for name, record in named if len(record.clean)]
    parts = [f"{_list(empty)}: no images were judged, so nothing can be said."] if empty else []
    if judged:
        parts += [_worst(judged) + _gain(judged) + ".", _clean(judged)]
    return " ".join(part for part in parts if part)


def warning(records: Sequence[Record]) -> str:
    """One sentence on what should make a reader suspicious, or nothing."""
    return _warning([(name, record) for name, record in zip(names(records), records, strict=True) if len(record.clean)])


def overlap(a: Interval, b: Interval) -> bool:
    """Whether two intervals have a point in common."""
    return a.low <= b.high and b.low <= a.high


def comparable(records: Sequence[Record]) -> bool:
    """Whether the records were judged under one threat, one suite and on the same images."""
    return len({(threat_text(r.threat), r.suite, r.labels, len(r.clean), r.provenance.data) for r in records}) <= 1


def _worst(named: Sequence[tuple[str, Record]]) -> str:
    attacked = [(n, r) for n, r in named if _attacked(r)]
    if not attacked:
        return "No attack within a threat was run, so these numbers say nothing about robustness"
    records = [r for _, r in attacked]
    if not comparable(records):
        values = _each([(n, r.worst) for n, r in attacked], ": ")
        return f"Judged under different threats, suites or images, the records are not ranked; worst case: {values}"
    under = f"when every image faces the strongest attack for it within {threat_text(records[0].threat)}"
    if len(attacked) == 1:
        return f"{attacked[0][0]} still classifies {_first(records[0].worst)} correctly {under}{_chance(records[0])}"
    best, record = max(attacked, key=lambda nr: nr[1].worst.point)
    rest = [(n, r) for n, r in attacked if r is not record]
    tied = [n for n, r in rest if overlap(r.worst, record.worst)]
    start = f"{best} keeps the most images right {under}, {_first(record.worst)}{_chance(record)}"
    if not tied:
        name, second = max(rest, key=lambda nr: nr[1].worst.point)
        return f"{start}; no other interval reaches that (next: {name}, {full(second.worst)})"
    if len(tied) == len(rest):
        return f"{start}, but its interval overlaps with that of every other record: the data do not separate them"
    return f"{start}, but its interval overlaps with that of {_list(tied)}: the data do not separate these"


def _chance(record: Record) -> str:
    """A remark if the share is not clearly above that of guessing among the classes."""
    if not record.labels or record.worst.low > 1 / len(record.labels):
        return ""
    return f" (not clearly more than the {100 / len(record.labels):.1f} % of guessing)"


def _gain(named: Sequence[tuple[str, Record]]) -> str:
    """The defenses whose worst case is not above that of the undefended baseline."""
    name, base = named[0]
    if not _has_baseline(named) or not _attacked(base):
        return ""
    rest = [(n, r) for n, r in named[1:] if _attacked(r)]
    within = [n for n, r in rest if overlap(r.worst, base.worst)]
    below = [n for n, r in rest if r.worst.high < base.worst.low]
    text = f"; no gain over {name} that the intervals could show: {_list(within)}" if within else ""
    return text + (f"; below {name}: {_list(below)}" if below else "")


def _clean(named: Sequence[tuple[str, Record]]) -> str:
    name, base = named[0]
    if len(named) == 1:
        return f"Without attack it is right on {full(base.accuracy)}."
    if not _has_baseline(named):
        return f"On clean images: {_each([(n, r.accuracy) for n, r in named], ' ')}."
    return f"On clean images {name} is right on {full(base.accuracy)}; in points against it: {_costs(base, named[1:])}."


def _costs(base: Record, others: Sequence[tuple[str, Record]]) -> str:
    """The clean accuracy of every other record less that of the baseline, or of many the least and the greatest."""
    points = [(100 * (record.accuracy.point - base.accuracy.point), name, record) for name, record in others]
    if len(points) > FEW:
        (low, most, _), (high, least, _) = (extreme(points, key=lambda p: p[0]) for extreme in (min, max))
        return f"from {_signed(low)} ({most}) to {_signed(high)} ({least})"
    costs = []
    for difference, name, record in points:
        within = " (intervals overlap)" if overlap(record.accuracy, base.accuracy) else ""
        costs.append(f"{name} {_signed(difference)}{within}")
    return _between(costs).join(costs)


def _warning(named: Sequence[tuple[str, Record]]) -> str:
    flattered = [text for name, record in named if (text := _gap(name, record))]
    marked = [name for name, record in named if record.suspicions]
    parts = []
    if flattered:
        parts.append(
            f"FGSM alone flatters {_list(flattered)}; so wide a gap between one step and the strongest attack can be a "
            "sign of masked gradients"
        )
    if marked:
        parts.append(f"read the suspicions (†) before quoting {_list(marked)}")
    return f"Warning: {'; '.join(parts)}." if parts else ""


def _gap(name: str, record: Record) -> str:
    """`name (70 % against 5 %)` if at least half of the clean accuracy survives FGSM and not half of that the rest.

    FGSM here is the usual one, through BPTT, where it was run.
    """
    fgsm = [a for a in record.attacks if column_of(a, True) == "fgsm" and Record.counts_for_worst(a)]
    usual = [a for a in fgsm if a.name.startswith("fgsm/bptt")] or fgsm
    if not usual:
        return ""
    single = strongest(usual).accuracy
    if single.low < record.accuracy.point / 2 or record.worst.high >= single.low / 2:
        return ""
    return f"{name} ({100 * single.point:.1f} % against {100 * record.worst.point:.1f} % in the worst case)"


def _attacked(record: Record) -> bool:
    """Whether there is a worst case: an attack that keeps to the threat."""
    return any(Record.counts_for_worst(result) for result in record.attacks)


def _signed(points: float) -> str:
    return f"{points:+.1f}".replace("-", "−")


def _has_baseline(named: Sequence[tuple[str, Record]]) -> bool:
    return "undefended" in named[0][1].name.lower() and comparable([r for _, r in named])


def _first(interval: Interval) -> str:
    """The first share of the text says what the brackets mean."""
    return full(interval).replace("(", "(95 % interval ")


def _list(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{_between(items).join(items[:-1])} and {items[-1]}"


def _each(shares: Sequence[tuple[str, Interval]], between: str) -> str:
    """Every share with its name, or of many the least and the greatest: the table has them all."""
    if len(shares) <= FEW:
        return "; ".join(f"{name}{between}{full(share)}" for name, share in shares)
    (low, least), (high, greatest) = (extreme(shares, key=lambda s: s[1].point) for extreme in (min, max))
    return f"from {full(least)} of {low} to {full(greatest)} of {high}"


def _between(items: Sequence[str]) -> str:
    """A comma, or where the items themselves have one a semicolon."""
    return "; " if any("," in item for item in items) else ", "
