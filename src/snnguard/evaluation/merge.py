"""One evaluation in several parts: images dealt out like cards, and the record put together again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from snnguard.errors import RequestError
from snnguard.record import AttackResult, Flags, Record

from .checks import examine


@dataclass(frozen=True, kw_only=True)
class Shard:
    """The images `index`, `index + of`, `index + 2 of`, ... of those that are judged; `index` from 0."""

    index: int
    of: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.of:
            raise RequestError(f"a shard is i/n with 0 <= i < n, found {self.index}/{self.of}")

    @property
    def suffix(self) -> str:
        """What the provenance of its record says behind the data; gone once the record is whole again."""
        return f", shard {self.index}/{self.of}"

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """`"1/4"`. Raises `RequestError`."""
        index, slash, of = text.partition("/")
        if not (slash and index.isdigit() and of.isdigit()):
            raise RequestError(f"a shard is i/n with 0 <= i < n, e.g. 0/4; found {text!r}")
        return cls(index=int(index), of=int(of))


def merged(parts: Sequence[Record]) -> Record:
    """The record of the whole evaluation, from the records of all its shards in any order.

    Verdicts are interleaved, costs added, measures averaged, weighted by their images (of gaps the largest is taken), and the
    checks made anew; exhibits are those of the first shard. Raises `RequestError` if a shard is missing, there twice, or
    judged otherwise.
    """
    given = [part.notes["shard"] for part in parts if "shard" in part.notes]
    if not given or len(given) < len(parts):
        raise RequestError("merging needs records made with --shard i/n; at least one of these is a whole evaluation")
    of = given[0]["of"]
    indices = sorted(note["index"] for note in given)
    if indices != list(range(of)) or {note["of"] for note in given} != {of}:
        raise RequestError(f"merging needs each of the {of} shards once; found {', '.join(map(str, indices))}")
    parts = sorted(parts, key=lambda part: int(part.notes["shard"]["index"]))
    first = parts[0]
    for part in parts[1:]:
        if where := _differences(first, part):
            raise RequestError(f"these shards are not of one evaluation; they differ in {', '.join(where)}")
    measures = _measures(parts)
    whole = replace(
        first, clean=_interleaved([part.clean for part in parts]), measures=measures,
        attacks=tuple(_joined(results, measures) for results in zip(*(part.attacks for part in parts), strict=True)),
        stochastic=any(part.stochastic for part in parts), provenance=replace(first.provenance, data=_data(first)),
        notes={name: note for name, note in first.notes.items() if name != "shard"},
    )  # fmt: skip
    raised, passed = examine(whole)
    return replace(whole, suspicions=raised, passed=passed)


def _differences(one: Record, other: Record) -> list[str]:
    def kept(record: Record) -> dict[str, object]:
        attacks = [(a.name, a.attack, a.radius, a.seed, a.draws, a.eval_draws) for a in record.attacks]
        made = record.provenance
        return {
            "name": record.name, "threat": record.threat, "suite": record.suite, "attacks": attacks, "weights": made.weights,
            "seed": made.seed, "recipe": made.recipe, "tuning": record.notes.get("tuning", {}).get("leads"),
            "data": _data(record), "cascade": record.cascade, "repairs": record.repairs,
        }  # fmt: skip

    return [name for name, value in kept(one).items() if value != kept(other)[name]]


def _data(part: Record) -> str:
    """What the whole is judged on."""
    return part.provenance.data.removesuffix(Shard(**part.notes["shard"]).suffix)


def _measures(parts: Sequence[Record]) -> dict[str, float]:
    """Shares and cosines averaged; a gap is the largest difference that was seen. A module without an entry has share 0."""
    total = sum(len(part.clean) for part in parts)

    def whole(name: str) -> float:
        if "-gap" in name:
            return max(part.measures.get(name, 0.0) for part in parts)
        return sum(part.measures.get(name, 0.0) * len(part.clean) for part in parts) / total

    return {name: whole(name) for name in dict.fromkeys(name for part in parts for name in part.measures)}


def _joined(results: Sequence[AttackResult], measures: Mapping[str, float]) -> AttackResult:
    first, attacked = results[0], sum(r.attacked or 0 for r in results)

    def mean(name: str) -> float:
        total: float = sum(getattr(r, name) * (r.attacked or 0) for r in results)
        return total / max(1, attacked)

    return replace(
        first, correct=_interleaved([r.correct for r in results]), attacked=attacked, mean_linf=mean("mean_linf"),
        mean_l2=mean("mean_l2"), seconds=round(sum(r.seconds for r in results), 3), forwards=sum(r.forwards for r in results),
        backwards=sum(r.backwards for r in results), zero_gradient_share=measures.get(f"zero-gradient/{first.rule}"),
    )  # fmt: skip


def _interleaved(parts: Sequence[Flags]) -> Flags:
    total, of = sum(map(len, parts)), len(parts)
    return Flags(tuple(parts[i % of].values[i // of] for i in range(total)))
