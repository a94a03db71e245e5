"""Puts the tables made from the records in results/ between the markers of README.md and docs/results.md.

    <!-- table: results/cifar10-slim/*.json -->        accuracies under the attacks
    <!-- mechanism: results/cifar10-slim/*.json -->    where the membrane potentials lie
    ...
    <!-- end -->

Run: make tables. With --check it changes nothing and exits with 1 if a table is not what the records say.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from snnguard import report
from snnguard.analysis import summary
from snnguard.record import Record

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "docs/results.md")
BLOCK = re.compile(r"(<!-- (?P<kind>table|mechanism): (?P<pattern>\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def accuracies(records: Sequence[Record]) -> str:
    """Accuracies, intervals and suspicions, and where they come from."""
    sources = [r.provenance for r in records]
    made = dict.fromkeys(f"{p.data}. {p.hardware}, torch {p.versions['torch']}, attack seed {p.seed}." for p in sources)
    return "\n\n".join([report.markdown(records), *(f"Data: {line}" for line in made)])


def mechanism(records: Sequence[Record]) -> str:
    """Means over layers of what `analysis.membranes` measured on the first 256 judged images."""
    head = "| | mean | std | overlap | threshold-proximal | firing rate | dead channels |\n|---|---|---|---|---|---|---|"
    lines = []
    for name, record in zip(report.names(records), records, strict=True):
        s = summary(record.membranes)
        shares = [f"{100 * s[key]:.1f} %" for key in ("overlap", "proximal", "rate", "dead")]
        lines.append(f"| {name} | {s['mean']:.2f} | {s['std']:.2f} | {' | '.join(shares)} |")
    return "\n".join([head, *lines])


def filled(text: str) -> str:
    """The page with every table made anew. Records come in the order of their file names."""

    def table(match: re.Match[str]) -> str:
        records = [Record.load(path) for path in sorted(ROOT.glob(match["pattern"]))]
        if not records:
            raise SystemExit(f"no records match {match['pattern']}")
        made = accuracies(records) if match["kind"] == "table" else mechanism(records)
        return f"{match[1]}\n{made}\n\n{match[4]}"

    return BLOCK.sub(table, text)


def main() -> None:
    """Writes, or with --check compares."""
    stale = []
    for page in PAGES:
        path = ROOT / page
        text = path.read_text()
        if (new := filled(text)) != text:
            stale.append(page)
            if "--check" not in sys.argv:
                path.write_text(new)
    if stale and "--check" in sys.argv:
        raise SystemExit(f"run `make tables`: not what results/ says: {', '.join(stale)}")


if __name__ == "__main__":
    main()
