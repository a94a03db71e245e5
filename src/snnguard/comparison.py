"""Published numbers beside ours, and what became of the published claims. Standard library only.

A `Comparison` is one table of one paper, measured anew. Like a record it goes to JSON and comes back equal, so that a
report is made from files alone.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

from snnguard.errors import RequestError

Verdict = Literal["holds", "does not hold", "cannot be told"]


@dataclass(frozen=True, kw_only=True)
class ComparisonCell:
    """One number of the published table and ours, in percent; `None` where it was not measured or not printed.

    `ours` is the mean over `seeds` training runs and `spread` their standard deviation, `None` for a single run.
    """

    row: str
    column: str
    ours: float | None
    spread: float | None
    seeds: int
    published: float | None

    @property
    def difference(self) -> float | None:
        """Ours minus the published number in percentage points; `None` where one of the two is missing."""
        return None if self.ours is None or self.published is None else self.ours - self.published


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence of a paper (`source` says where it stands), and whether our numbers bear it out, and why."""

    text: str
    source: str
    verdict: Verdict
    reason: str

    def __post_init__(self) -> None:
        """Raises `ValueError` for a verdict that is none of the three: a report prints it word for word."""
        if self.verdict not in get_args(Verdict):
            raise ValueError(f"the verdict is one of {', '.join(get_args(Verdict))}; found {self.verdict!r}")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A published table measured anew; `scale` says how ours was made smaller (or that it was not), `note` what else counts."""

    title: str
    scale: str
    note: str
    cells: tuple[ComparisonCell, ...]
    claims: tuple[Claim, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; `from_json` gives back an equal comparison."""
        data = asdict(self)
        return data | {"cells": list(data["cells"]), "claims": list(data["claims"])}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Raises `RequestError` if the data are no comparison."""
        try:
            cells = tuple(ComparisonCell(**cell) for cell in data["cells"])
            claims = tuple(Claim(**claim) for claim in data["claims"])
            return cls(**{**data, "cells": cells, "claims": claims})
        except (KeyError, TypeError, ValueError) as error:
            raise RequestError(f"not a comparison with published numbers, or damaged: {error!r}") from None
