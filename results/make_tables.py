"""Puts the tables made from the records in results/ between the markers of README.md and docs/results.md.

    <!-- table: results/cifar10-slim/*.json -->
    ...
    <!-- end -->

Run: make tables. With --check it changes nothing and exits with 1 if a table is not what the records say.
"""

import re
import sys
from pathlib import Path

from snnguard import report
from snnguard.record import Record

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "docs/results.md")
BLOCK = re.compile(r"(<!-- table: (?P<pattern>\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str) -> str:
    """The page with every table made anew. Records come in the order of their file names."""

    def table(match: re.Match[str]) -> str:
        records = [Record.load(path) for path in sorted(ROOT.glob(match["pattern"]))]
        if not records:
            raise SystemExit(f"no records match {match['pattern']}")
        where = records[0].provenance
        made = f"{where.data}. {where.hardware}, torch {where.versions['torch']}, seed {where.seed}."
        return f"{match[1]}{report.markdown(records)}\n\n{made}\n{match[3]}"

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
