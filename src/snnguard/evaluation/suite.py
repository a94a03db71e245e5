"""Suites: the attacks that an evaluation is made of."""

from collections.abc import Collection, Sequence

from pydantic import Field, field_validator

from snnguard.attacks import Attack, InputGradient
from snnguard.choice import Choice
from snnguard.neurons import GradientRule


def rule_name(rule: GradientRule | None) -> str:
    """The name of a rule in records: its kind, with the settings that differ from the defaults; "own" for none."""
    return "own" if rule is None else str(rule).removesuffix("()")


class Entry(Choice):
    """One attack of a suite under the name by which it is reported, e.g. "pgd-7/bptt".

    `radius` is the ball in multiples of the threat's eps, None the whole range; beyond 1 the result is a control and counts
    for no worst case.
    With `substitute` the images are crafted on the substitute model of that name and judged on the model itself.
    """

    name: str = Field(min_length=1)
    attack: Attack
    radius: float | None = Field(default=1.0, ge=0)
    substitute: str = ""

    @property
    def gradient(self) -> InputGradient | None:
        """The attack's way to the gradient, if it uses one."""
        found = getattr(self.attack, "gradient", None)
        return found if isinstance(found, InputGradient) else None

    @property
    def counts(self) -> bool:
        """Whether what it turns counts for the worst case."""
        return self.attack.bounded and self.radius is not None and self.radius <= 1


class Suite(Choice):
    """Attacks in order, each name once; the worst case per sample is taken over all that keep to the threat.

    In a `cascade` each attack sees only what those before it left standing: the same worst case for less, but a column
    for itself says nothing about its attack alone. With `repairs` the attacker mends what hides a model's gradient or keeps
    its state (`attacks.repair`), where the measures have found it; the judge mends the state alone.
    """

    name: str = Field(min_length=1)
    entries: tuple[Entry, ...]
    cascade: bool = False
    repairs: bool = False

    @field_validator("entries")
    @classmethod
    def _names_differ(cls, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        names = [entry.name for entry in entries]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"results are kept by name, so each may stand once; found twice: {', '.join(twice)}")
        return entries

    def extended(self, required: Sequence[Attack]) -> "Suite":
        """The suite with attacks that a defense declares necessary, under the names "adaptive-1", ..."""
        extra = tuple(Entry(name=f"adaptive-{i}", attack=attack) for i, attack in enumerate(required, 1))
        return Suite(**{**dict(self), "entries": (*self.entries, *extra)})

    def crafted_on(self, substitutes: Collection[str]) -> "Suite":
        """The suite without the entries that need a substitute model which is not at hand."""
        kept = tuple(entry for entry in self.entries if not entry.substitute or entry.substitute in substitutes)
        return self.model_copy(update={"entries": kept})

    def without_rules(self) -> "Suite":
        """For a model without spiking neurons: each attack once, with the model's own gradient."""
        kept: dict[str, Entry] = {}
        for entry in self.entries:
            name = entry.name.partition("/")[0]
            changes = {"name": name, "attack": entry.attack.with_rule(None)}
            kept.setdefault(name, entry if entry.substitute else entry.model_copy(update=changes))
        return self.model_copy(update={"entries": tuple(kept.values())})
