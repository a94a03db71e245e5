"""Results that outlive the process: verdicts, intervals, suspicions, provenance. Standard library only.

A `Record` is one judged model. It goes to JSON and comes back equal, and everything in a report or a table of the
documentation is made from records alone, without the model, the data or a GPU.
"""

import base64
import json
import math
import os
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any, Self

from snnguard.errors import RequestError

SCHEMA = 1

LOGGED_EDGES = tuple(round(-4 + 0.2 * i, 9) for i in range(41))
"""Bins of the histograms of `u - threshold` that training logs for each layer; the outer ones take what lies beyond."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A share of `total` samples with its 95 % Wilson score interval; all three in [0, 1]."""

    point: float
    low: float
    high: float

    @classmethod
    def of(cls, hits: int, total: int, *, confidence: float = 0.95) -> Self:
        """SOURCE: Wilson 1927. With no samples the interval is all of [0, 1] and the point is NaN."""
        if total == 0:
            return cls(point=math.nan, low=0.0, high=1.0)
        z = NormalDist().inv_cdf(0.5 + confidence / 2)
        share = hits / total
        centre = (share + z * z / (2 * total)) / (1 + z * z / total)
        half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
        return cls(point=share, low=max(0.0, min(centre - half, share)), high=min(1.0, max(centre + half, share)))


@dataclass(frozen=True)
class Flags:
    """One yes or no per sample, packed into base64 in JSON (10,000 samples take 1.7 kB)."""

    values: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.values)

    def __and__(self, other: "Flags") -> "Flags":
        if len(self) != len(other):
            raise ValueError(f"flags of {len(self)} and of {len(other)} samples cannot be combined")
        return Flags(tuple(a and b for a, b in zip(self.values, other.values, strict=True)))

    @property
    def hits(self) -> int:
        return sum(self.values)

    @property
    def interval(self) -> Interval:
        return Interval.of(self.hits, len(self))

    def pack(self) -> dict[str, Any]:
        number = sum(1 << i for i, v in enumerate(self.values) if v)
        data = number.to_bytes((len(self) + 7) // 8, "little")
        return {"n": len(self), "bits": base64.b64encode(data).decode()}

    @classmethod
    def unpack(cls, packed: dict[str, Any]) -> Self:
        """Raises `ValueError` if there are too few or too many bits for the number of samples."""
        total, data = packed["n"], base64.b64decode(packed["bits"], validate=True)
        number = int.from_bytes(data, "little")
        if total < 0 or len(data) != (total + 7) // 8 or number >> total:
            raise ValueError(f"the flags of {total} samples do not fit their {8 * len(data)} bits")
        return cls(tuple(bool(number >> i & 1) for i in range(total)))


@dataclass(frozen=True, kw_only=True)
class Suspicion:
    """A reason to distrust a number: what was measured, where the limit lies, what it may mean."""

    code: str
    message: str
    measured: float
    limit: float

    @property
    def raised(self) -> bool:
        """Whether the limit is passed; otherwise it is a check that found nothing."""
        return self.measured > self.limit


@dataclass(frozen=True, kw_only=True)
class AttackResult:
    """What one attack left standing. `correct` holds for a sample that is right both clean and attacked.

    `attacked` samples were attacked: those right clean or, in a suite that is a cascade, those that no attack before had
    turned; there `correct` is what stands after this one and all before. `radius` is in multiples of the threat's eps.
    `forwards` and `backwards` count passes of single images, of the judged model and of its substitutes.
    """

    name: str
    attack: dict[str, Any]
    rule: str
    correct: Flags
    seed: int
    seconds: float
    draws: int = 1
    eval_draws: int = 1
    mean_linf: float = 0.0
    mean_l2: float = 0.0
    zero_gradient_share: float | None = None
    attacked: int | None = None
    radius: float = 1.0
    forwards: int = 0
    backwards: int = 0

    @property
    def accuracy(self) -> Interval:
        return self.correct.interval

    def success(self, clean: Flags) -> Interval:
        """Attack success rate: the share of the attacked samples that the attack turned."""
        attacked = clean.hits if self.attacked is None else self.attacked
        return Interval.of(attacked - (clean & self.correct).hits, attacked)


@dataclass(frozen=True, kw_only=True)
class Membrane:
    """Distribution of `u - threshold` in one layer, before the reset, over samples, channels and time steps.

    `counts` fill the bins between `edges` (what lies outside is in the outer bins); `window` is the half width of the
    training surrogate's window; `overlap` the share of potentials inside it; `proximal` the share within `proximal_band`
    of the threshold; `dead` the share of channels that never fire on the probe images.
    """

    layer: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    mean: float
    std: float
    window: float
    overlap: float
    proximal: float
    proximal_band: float
    rate: float
    dead: float


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Robust accuracy against the radius, one attack; `eps[i]` in raw input units."""

    name: str
    eps: tuple[float, ...]
    accuracy: tuple[Interval, ...]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One image before and after an attack, as PNG in base64, with the labels that the model gave.

    `attack` names the attack; records made before several were shown have none.
    """

    label: str
    clean_label: str
    adversarial_label: str
    clean: str
    adversarial: str
    difference: str
    amplification: float
    attack: str = ""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a number comes from: enough to make it again."""

    command: str
    created: str
    commit: str
    versions: dict[str, str]
    hardware: str
    recipe: dict[str, Any]
    data: str
    weights: str
    seed: int

    @property
    def split(self) -> str:
        """Which part of the data was judged, "test" or "validation"; "" where that is not known."""
        words = self.data.rpartition("; judged: ")[2].split()
        return words[1] if len(words) > 2 and words[2].startswith("images") else ""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One judged model. `epochs` are the lines of its `metrics.jsonl`, if it was trained here.

    In a `cascade` each attack saw only what those before it had left; with `repairs` the attacker mended what hid the model's
    gradient. `measures` are what was measured of the model beside the attacks, by name; `passed` the checks that found
    nothing, `suspicions` those that did.
    """

    name: str
    threat: dict[str, Any]
    suite: str
    labels: tuple[str, ...]
    clean: Flags
    attacks: tuple[AttackResult, ...]
    suspicions: tuple[Suspicion, ...]
    provenance: Provenance
    stochastic: bool = False
    cascade: bool = False
    repairs: bool = False
    measures: dict[str, float] = field(default_factory=dict)
    passed: tuple[Suspicion, ...] = ()
    membranes: tuple[Membrane, ...] = ()
    curves: tuple[Curve, ...] = ()
    pictures: tuple[Picture, ...] = ()
    epochs: tuple[dict[str, Any], ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def accuracy(self) -> Interval:
        """Clean accuracy."""
        return self.clean.interval

    @property
    def worst_flags(self) -> Flags:
        """Per sample: right clean and under every attack that keeps to the ball."""
        flags = self.clean
        for result in self.attacks:
            if self.counts_for_worst(result):
                flags = flags & result.correct
        return flags

    @property
    def worst(self) -> Interval:
        """Accuracy against the strongest attack per sample, over all attacks that keep to the threat."""
        return self.worst_flags.interval

    @staticmethod
    def counts_for_worst(result: AttackResult) -> bool:
        """Unbounded attacks (CW, large noise) and larger balls are shown, but are no evidence about the ball."""
        return bool(result.attack.get("bounded", True)) and result.radius <= 1

    def with_exhibits(
        self, *, membranes: tuple[Membrane, ...] = (), curves: tuple[Curve, ...] = (), pictures: tuple[Picture, ...] = (),
        epochs: tuple[dict[str, Any], ...] = (),
    ) -> "Record":  # fmt: skip
        """The same record with what a report shows beside the verdicts."""
        return replace(self, membranes=membranes, curves=curves, pictures=pictures, epochs=epochs)

    def find(self, name: str) -> AttackResult:
        """The result of the attack called `name`."""
        for result in self.attacks:
            if result.name == name:
                return result
        raise KeyError(f"no attack {name!r} in this record; it has {', '.join(r.name for r in self.attacks)}")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; `from_json` gives back an equal record."""
        data = asdict(self)
        data["clean"] = self.clean.pack()
        for entry, result in zip(data["attacks"], self.attacks, strict=True):
            entry["correct"] = result.correct.pack()
        summary = {"clean": asdict(self.accuracy), "worst": asdict(self.worst)}
        return {"schema": SCHEMA, "summary": summary, **data}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Raises `RequestError` if the data are no record of this schema."""
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            found = f"schema {data.get('schema')!r}" if isinstance(data, dict) else type(data).__name__
            raise RequestError(f"not a record of schema {SCHEMA} (found {found})")
        try:
            return cls(
                **{k: data[k] for k in ("name", "threat", "suite", "stochastic", "notes")},
                labels=tuple(data["labels"]),
                clean=Flags.unpack(data["clean"]),
                attacks=tuple(
                    AttackResult(**{**entry, "correct": Flags.unpack(entry["correct"])}) for entry in data["attacks"]
                ),
                suspicions=tuple(Suspicion(**entry) for entry in data["suspicions"]),
                cascade=data.get("cascade", False),
                repairs=data.get("repairs", False),
                measures=data.get("measures", {}),  # records made before they were measured have none
                passed=tuple(Suspicion(**entry) for entry in data.get("passed", ())),
                provenance=Provenance(**data["provenance"]),
                membranes=tuple(
                    Membrane(**{**m, "edges": tuple(m["edges"]), "counts": tuple(m["counts"])}) for m in data["membranes"]
                ),
                curves=tuple(
                    Curve(name=c["name"], eps=tuple(c["eps"]), accuracy=tuple(Interval(**i) for i in c["accuracy"]))
                    for c in data["curves"]
                ),
                pictures=tuple(Picture(**p) for p in data["pictures"]),
                epochs=tuple(data["epochs"]),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise RequestError(f"this record is damaged or made by another version: {error!r}") from None

    def save(self, path: Path) -> None:
        """Writes the record as JSON, atomically."""
        write_atomic(path, json.dumps(self.to_json(), indent=1).encode())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a record. Raises `RequestError` that names the file if it is missing, not JSON or no record."""
        data = read_json(path)
        try:
            return cls.from_json(data)
        except RequestError as error:
            raise RequestError(f"{path}: {error}") from None


def write_atomic(path: Path, data: bytes) -> None:
    """Writes all of `data` or nothing: a reader, or a crash, sees the old file or the new one, never a part.

    Raises `RequestError` when the disk is full or the folder cannot be written; the old file is then untouched.
    """
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        raise RequestError(
            f"cannot write {path}: {error.strerror or error}; what was there before is untouched. "
            "Free some space or choose another folder, then run the same command again"
        ) from error
    finally:
        if temporary:  # still there after a fault or an interrupt only
            Path(temporary).unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """The JSON content of a file. Raises `RequestError` that names the file."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise RequestError(f"no file {path}") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RequestError(f"{path} is not readable as JSON: {error}") from None
