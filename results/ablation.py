"""The suites side by side on the same networks, and what each part of `spike` adds.

The records are those of `snnguard evaluate RUN --suite spike --full`: every attack on every image that is right clean, so
that the verdict of AutoAttack can be read off (its attacks are among them, with the same seeds) and any part be left out.
"""

from collections.abc import Callable, Iterable, Sequence

from snnguard import report
from snnguard.record import AttackResult, Record

AUTO_ATTACK = ("apgd-ce", "apgd-t", "apgd-dlr", "fab-t", "square")
BARS = " ▁▂▃▄▅▆▇█"
Key = Callable[[AttackResult], str]


def compared(records: Sequence[Record], papers: Sequence[Record], openings: Sequence[Record]) -> str:
    """Per network: PGD-7 of the papers' protocol on the same images, that protocol's worst case, AutoAttack, `spike`.

    Of records that were made before `spike` opened with `quick` the opening is among `openings`, on the same images.
    """
    _check(records)
    opened = {record.provenance.weights: record.worst_flags.values for record in openings}
    lines = ["| | images | clean | PGD-7 | paper | standard | spike | suspicions |", "|---|---:|---:|---:|---:|---:|---:|---|"]
    by_model = {(record.provenance.weights, str(record.threat)): record for record in papers if record.provenance.weights}
    for name, record in zip(report.names(records), records, strict=True):
        n = len(record.clean)
        whole = _left(record.attacks, record)
        spike = tuple(a and b for a, b in zip(whole, opened.get(record.provenance.weights, whole), strict=True))
        paper = by_model.get((record.provenance.weights, str(record.threat)))
        asked = [record.clean.values, *_papers(paper, n), _left(standard(record), record), spike]
        shares = [f"{100 * sum(flags) / n:.0f}" if flags else "" for flags in asked]
        told = ", ".join(f"`{code}`" for code in sorted({s.code for s in record.suspicions}))
        lines.append(f"| {name} | {n} | {' | '.join(shares[:-1])} | **{shares[-1]}** | {told} |")
    return "\n".join(lines)


def ablation(records: Sequence[Record]) -> str:
    """Images of each network that stand after one part of `spike` alone, and (in brackets) those that fall to it alone."""
    _check(records)
    names = report.names(records)
    head = [f"| | passes | {' | '.join(names)} |", f"|---|---:|{'---:|' * len(names)}"]
    ends = ["clean", "all of spike"]
    rows = [[f"{record.clean.hits}", f"**{record.worst_flags.hits}**"] for record in records]
    lines = [f"| {end} | | {' | '.join(row[i] for row in rows)} |" for i, end in enumerate(ends)]
    for title, key in (("by gradient", _family), ("by attack", _attack)):
        lines.append(f"| *{title}* | | {' | '.join('' for _ in names)} |")
        parts = dict.fromkeys(part for record in records for result in record.attacks if (part := key(result)))
        lines += [f"| {part} | {_cost(records, key, part)} | {_cells(records, key, part)} |" for part in parts]
    return "\n".join([*head, *lines])


def beside_spike(records: Sequence[Record], spikes: Sequence[Record]) -> str:
    """Images that stand after the papers' part of `quick`, after `quick`, after `spike` without it, and after both; and what
    `quick` costs of `spike`, in passes (a backward pass for two forward ones)."""
    lines = [
        "| | clean | FGSM, PGD-10 | quick | passes an image | spike without it | passes an image | spike |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    by_weights = {record.provenance.weights: record for record in spikes}
    total = [0] * 5
    matching = [by_weights[record.provenance.weights] for record in records]
    for name, record, spike in zip(report.names(matching), records, matching, strict=True):
        if record.clean != spike.clean:
            raise SystemExit(f"{name}: quick and spike saw other images")
        first = sum(_left([a for a in record.attacks if not _attack(a).startswith("apgd")], record))
        both = sum(one and other for one, other in zip(record.worst_flags.values, spike.worst_flags.values, strict=True))
        row = [record.clean.hits, first, record.worst_flags.hits, spike.worst_flags.hits, both]
        total = [a + b for a, b in zip(total, row, strict=True)]
        lines.append(_beside(name, row, _passes(record), _passes(spike)))
    n = len(records)
    mean = [sum(map(_passes, read)) / n for read in (records, matching)]
    return "\n".join([*lines, _beside("**all**", total, *mean)])


def _beside(name: str, row: Sequence[int], quick: float, spike: float) -> str:
    clean, first, short, long, both = row
    return f"| {name} | {clean} | {first} | {short} | {quick:.0f} | {long} | {spike:.0f} | **{both}** |"


def _passes(record: Record) -> float:
    """Per image that is right clean, all attacks together."""
    return sum(a.forwards + 2 * a.backwards for a in record.attacks) / max(record.clean.hits, 1)


def histograms(records: Sequence[Record]) -> str:
    """Where the potentials lie, all layers together, from -4 to 4 around the threshold."""
    lines = ["| | potential relative to the threshold, -4 to 4 | overlap |", "|---|---|---:|"]
    for name, record in zip(report.names(records), records, strict=True):
        if not record.membranes:
            continue
        shares = [sum(share) for share in zip(*([c / sum(m.counts) for c in m.counts] for m in record.membranes), strict=True)]
        bins = [sum(shares[i : i + 2]) for i in range(0, len(shares), 2)]
        most = max(bins[1:-1]) or max(bins)  # what lies beyond 4 is in the outer bins
        bars = "".join(BARS[min(8, round(8 * share / most))] for share in bins)
        middle = len(bars) // 2
        overlap = sum(m.overlap for m in record.membranes) / len(record.membranes)
        lines.append(f"| {name} | `{bars[:middle]}|{bars[middle:]}` | {100 * overlap:.0f} % |")
    return "\n".join(lines)


def _check(records: Sequence[Record]) -> None:
    for record in records:
        if record.cascade:
            raise SystemExit(f"{record.name}: columns of a cascade say nothing of their attacks; judge it again with --full")


def standard(record: Record) -> list[AttackResult]:
    """AutoAttack's part of `spike`: under the gradient that comes first; Square only of deterministic models."""
    best = next(a.rule for a in record.attacks if _attack(a) == "sa-pgd")
    kept = [a for a in record.attacks if _attack(a) in AUTO_ATTACK and a.rule in (best, "")]
    return [a for a in kept if not (record.stochastic and a.name == "square")]


def _papers(paper: Record | None, n: int) -> list[tuple[bool, ...]]:
    """What stands of the first `n` images under PGD-7 through time and in the papers' worst case; () where unknown."""
    if paper is None or len(paper.clean) < n:
        return [(), ()]
    pgd = [a.correct.values[:n] for a in paper.attacks if a.name in ("pgd-7/bptt", "pgd-7")]
    return [pgd[0] if pgd else (), paper.worst_flags.values[:n]]


def _left(results: Iterable[AttackResult], record: Record) -> tuple[bool, ...]:
    """The images that are right clean and under all of `results`."""
    return tuple(all(flags) for flags in zip(record.clean.values, *(a.correct.values for a in results), strict=True))


def _attack(result: AttackResult) -> str:
    """The attack without its gradient; "" for those that a defense adds."""
    if result.name.startswith("adaptive-"):
        return ""
    return "transfer" if result.name.startswith("transfer") else result.name.partition("/")[0]


def _family(result: AttackResult) -> str:
    """The gradient without the constants that are tuned; "" for attacks that use none of the model's, and for FAB."""
    if not result.rule or _attack(result) in ("fab-t", ""):
        return ""
    return result.rule.partition("(")[0] if result.rule.startswith(("assg", "hart")) else result.rule


def _cells(records: Sequence[Record], key: Key, part: str) -> str:
    cells = []
    for record in records:
        own = [a for a in record.attacks if key(a) == part]
        rest = [a for a in record.attacks if key(a) != part]
        only = sum(_left(rest, record)) - record.worst_flags.hits
        cells.append(f"{sum(_left(own, record))} ({only})" if own else "–")
    return " | ".join(cells)


def _cost(records: Sequence[Record], key: Key, part: str) -> str:
    """Passes per image, a backward pass for two forward ones, in thousands, over the networks."""
    own = [a for record in records for a in record.attacks if key(a) == part and a.attacked]
    networks = sum(any(key(a) == part for a in record.attacks) for record in records)
    return f"{sum((a.forwards + 2 * a.backwards) / a.attacked for a in own) / networks / 1000:.1f} k"
