"""Puts the tables made from the records in results/, and the list of defenses, between the markers of the documents.

    <!-- table: results/cifar10-slim/*.json -->        accuracies under the attacks
    <!-- mechanism: results/cifar10-slim/*.json -->    where the membrane potentials lie
    <!-- grid: results/digits-grid/*.json -->          one line per defense: alone, and after adversarial training
    <!-- order: results/cifar10-slim/*.json -->        the papers' PGD-7 beside ours, in the papers' order
    <!-- suites: results/spike/*.json -->             PGD-7, AutoAttack and spike on the same networks
    <!-- ablation: results/spike/*.json -->           what each part of spike adds
    <!-- quick: results/quick/*.json -->              quick beside spike, on the same images
    <!-- histograms: results/spike/*.json -->         the membrane potentials, as bars
    <!-- parity: benchmarks/parity.json -->          our attacks beside those of other libraries
    <!-- speed: benchmarks/speed.json -->            time and memory beside the floor and other libraries
    <!-- steps: benchmarks/step_cost.json -->        what a training step costs with the seeds' defenses, and the kernels
    <!-- shares: benchmarks/where_time_goes.json --> where the time of a step goes
    <!-- layers: benchmarks/convolutions.json -->    layers on the matrix units beside PyTorch's
    <!-- declined: benchmarks/declined.json -->  ways that were tried for speed, beside what is done
    <!-- pgd: benchmarks/attack_speed.json -->       PGD-7 end to end beside torchattacks
    <!-- reproduced: results/reproduce/*/comparison.json -->  tables of the papers, ours beside theirs, and the verdicts
    <!-- certificates: results/certificates/*.json -->    certified accuracy beside attacks on the same classifier
    <!-- defenses: all -->                             every defense: source, what it changes, cost; then its equation
    ...
    <!-- end -->

Run: make tables. With --check it changes nothing and exits with 1 if a table is not what the records say.
"""

import csv
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ablation import ablation, beside_spike, compared, histograms

from snnguard import bench, report
from snnguard.analysis import summary
from snnguard.comparison import Comparison
from snnguard.defenses.catalogue import catalogue, equation
from snnguard.record import Record
from snnguard.reproduce import markdown

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = ROOT / "results/published/mpd-sgr-table-1-vgg11.csv"
SPIKES, QUICK = "results/spike/*.json", "results/quick/*.json"
PAPERS = ("results/cifar10-slim/*.json", "results/spike/paper/*.json")
PAGES = ("README.md", "docs/results.md", "docs/attacks.md", "docs/defenses.md", "docs/speed.md", "docs/tables.md")
PEERS = ("torchattacks", "ART")
BLOCK = re.compile(
    r"(<!-- (?P<kind>\w+): (?P<pattern>\S+) -->\n).*?(<!-- end -->)",
    re.DOTALL,
)


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


def grid(records: Sequence[Record]) -> str:
    """One line per defense, most robust alone first: clean and worst case, alone and after adversarial training.

    Records are named FAMILY-NAME and FAMILY-at-NAME, and FAMILY-undefended is among them. The letters are the suspicions
    that the record raised.
    """
    family = next(record.name for record in records if record.name.endswith("undefended")).removesuffix("undefended")
    named = {record.name.removeprefix(family): record for record in records}
    codes = sorted({s.code for record in records for s in record.suspicions})
    letters = {code: chr(ord("a") + number) for number, code in enumerate(codes)}
    alone = [name for name in named if not name.startswith("at-")]
    lines = ["| | clean | worst case | | with AT: clean | worst case | |", "|---|---:|---:|---|---:|---:|---|"]
    for name in sorted(alone, key=lambda name: -named[name].worst.point):
        cells = [*_cells(named.get(name), letters), *_cells(named.get(f"at-{name}"), letters)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    legend = "; ".join(f"{letter}: `{code}`" for code, letter in letters.items())
    sources = dict.fromkeys(f"{r.provenance.data}. {r.provenance.hardware}." for r in records)
    return "\n\n".join(["\n".join(lines), f"Suspicions: {legend or 'none'}.", *(f"Data: {line}" for line in sources)])


def _cells(record: Record | None, letters: dict[str, str]) -> list[str]:
    if record is None:
        return ["", "", ""]
    marks = "".join(sorted({letters[s.code] for s in record.suspicions}))
    shares = [
        f"{100 * share.point:.1f} ({100 * share.low:.0f}–{100 * share.high:.0f})" for share in (record.accuracy, record.worst)
    ]
    return [*shares, marks]


def order(records: Sequence[Record]) -> str:
    """The published PGD-7 accuracies, the highest first, beside ours of the same method and training."""
    ours: dict[tuple[str, str], Record] = {}
    for record in records:
        parts = [part["kind"] for part in _parts(record.provenance.recipe["defense"])]
        training = "adversarial" if "at" in parts else "vanilla"
        method = "+".join(part for part in parts if part not in ("at", "convex-residuals"))  # RAT's merge; VGG has none
        ours[training, "rat" if (training, method) == ("adversarial", "reg") else method] = record
    with PUBLISHED.open() as file:
        rows = [row for row in csv.DictReader(file) if row["attack"] == "pgd7"]
    lines = ["| | published PGD-7 | ours: clean | PGD-7 | worst case |", "|---|---:|---:|---:|---:|"]
    for row in sorted(rows, key=lambda row: (row["training"] != "vanilla", -float(row["accuracy"]))):
        name = f"{'AT + ' if row['training'] == 'adversarial' else ''}{row['method'].upper()}".replace("AT + RAT", "RAT")
        record = ours.get((row["training"], row["method"]))
        cells = ["", "", ""]
        if record is not None:
            shares = (record.accuracy, record.find("pgd-7/bptt").accuracy, record.worst)
            cells = [f"{100 * share.point:.1f}" for share in shares]
        lines.append(f"| {name} | {float(row['accuracy']):.2f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _parts(defense: dict[str, Any]) -> list[dict[str, Any]]:
    return list(defense["parts"]) if defense["kind"] == "stack" else [defense]


def certificates(found: Sequence[dict[str, Any]]) -> str:
    """Per network and L2 radius: what is certified, and what each attack on the same smoothed classifier leaves."""
    attacks = list(found[0]["empirical"])
    lines = [f"| | radius (L2) | certified | {' | '.join(f'after {name.upper()}' for name in attacks)} |"]
    lines.append("|---|---:|---:|" + "---:|" * len(attacks))
    for one in found:
        n = len(one["labels"])
        for i, radius in enumerate(one["radii"]):
            left = [one["certified"][i], *(one["empirical"][name][i] for name in attacks)]
            lines.append(f"| {one['name']} | {radius:.3f} | {' | '.join(f'{100 * count / n:.0f} %' for count in left)} |")
    told = []
    for one in found:
        made, broken = one["provenance"], len(one["contradictions"])
        votes = f"sigma {one['sigma']:.3f}, {one['n0']} and {one['n']} votes, alpha {one['alpha']}"
        told.append(
            f"{one['name']}: {votes}, {len(one['labels'])} images, {broken} certified ones broken. Data: {made['data']}. "
            f"{made['hardware']}, seed {made['seed']}."
        )
    return "\n\n".join(["\n".join(lines), *told])


def parity(figures: dict[str, dict[str, float]]) -> str:
    """Per network, norm and attack: what stands after ours and after the peers', as `make parity` has noted it."""
    found: dict[str, dict[str, str]] = {}
    for title, figure in figures.items():
        name, _, peer = title.partition(", ")
        if peer in PEERS:
            row = found.setdefault(name, {"ours": f"{100 * figure['ours']:.1f}"})
            row[peer] = f"{100 * figure['theirs']:.1f}"
    lines = ["| network, norm, attack | ours | torchattacks | ART |", "|---|---:|---:|---:|"]
    for name in sorted(found):
        lines.append(f"| {name} | {' | '.join(found[name].get(peer, '') for peer in ('ours', *PEERS))} |")
    return "\n".join(lines)


def steps(kept: dict[str, Any]) -> str:
    """Seconds and ratios of training steps, then of kernels."""
    parts = [f"{kept['what']}; {kept['hardware']}, torch {kept['versions']['torch']}; `{kept['command']}`."]
    for part, title in (("steps", "training step"), ("kernels", "kernel")):
        lines = [f"| {title} | ms | ratio |", "|---|---:|---:|"]
        lines += [f"| {name} | {1000 * row['seconds']:.1f} | {row['ratio']:.2f} |" for name, row in kept[part].items()]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def shares(kept: dict[str, Any]) -> str:
    """Per case, the share of each kind of operation in percent."""
    kinds = list(next(iter(kept["shares"].values())))
    lines = ["| % of the time | " + " | ".join(kinds) + " |", "|---|" + "---:|" * len(kinds)]
    for case, row in kept["shares"].items():
        lines.append(f"| {case} | " + " | ".join(f"{100 * row[kind]:.1f}" for kind in kinds) + " |")
    return "\n".join([*lines, "", f"{kept['hardware']}, torch {kept['versions']['torch']}; `{kept['command']}`."])


def pgd(kept: dict[str, Any]) -> str:
    """PGD-7 end to end: seconds, ratios, who stands, and which verdicts differ."""
    lines = ["| | seconds | times ours | stand | other verdicts | of these lost here alone |", "|---|---:|---:|---:|---:|---:|"]
    for name, row in kept["rows"].items():
        lines.append(
            f"| {name} | {row['seconds']:.1f} | {row['times snnguard']:.2f} | {row['standing']} | "
            f"{row['other verdicts than torchattacks']} | {row['of these lost here alone']} |"
        )
    told = (
        f"{kept['network']}, {kept['images']} images, {kept['clean']} right clean, batches of {kept['batch']}, medians of "
        f"{kept['rounds']} rounds; {kept['hardware']}; `{kept['command']}`. {kept['data']}"
    )
    half = (
        f"Crafted in bfloat16 and judged in float32, {kept['standing when crafted in bfloat16']} stand, with "
        f"{kept['other verdicts when crafted in bfloat16']} other verdicts than ours in float32."
    )
    refilled = ["| attack | batch | time batch by batch | stand | other verdicts |", "|---|---:|---:|---:|---:|"]
    refilled += [
        f"| {row['attack']} | {row['batch']} | {row['ratio']:.2f} | {row['standing']} | {row['other verdicts']} |"
        for row in kept["refilled"]
    ]
    title = f"Batch by batch, in units of the time of {kept['batches at once']} batches at once, refilled as images are lost:"
    return "\n\n".join(["\n".join(lines), half, title, "\n".join(refilled), told])


def contents() -> str:
    """The table of contents of the field, and what each entry computes."""
    entries = [entry for entry in catalogue() if entry.name != "stack"]
    lines = ["| name | changes | cost of a step | source |", "|---|---|---:|---|"]
    for entry in entries:
        cost = "" if entry.cost is None else f"{entry.cost:.2f}"
        lines.append(f"| [`{entry.name}`](#{entry.name}) | {entry.changes} | {cost} | {entry.source} |")
    texts = [f"### {entry.name}\n\n{equation(entry.name)}" for entry in entries]
    return "\n\n".join(["\n".join(lines), *texts])


def reproduced(read: Sequence[dict[str, Any]]) -> str:
    """One table after the other, as `snnguard reproduce` writes them."""
    return "\n".join(markdown(Comparison.from_json(data), level=2) for data in read).rstrip()


def layers(read: dict[str, Any]) -> str:
    """How many times as fast as PyTorch's each product of a layer is, and the errors of both."""
    products = list(next(iter(read["rows"].values())))
    lines = ["| | " + " | ".join(f"{name} | errors" for name in products) + " |", "|---|" + "---:|---:|" * len(products)]
    for name, row in read["rows"].items():
        cells = [
            f"{cell['seconds pytorch'] / cell['seconds ours']:.2f} | {cell['error ours']:.2f}, {cell['error pytorch']:.2f}"
            for cell in (row[product] for product in products)
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    where = f"{read['images']} images, medians of {read['rounds']} rounds; {read['hardware']}; `{read['command']}`."
    return "\n".join([*lines, "", where])


def declined(read: dict[str, Any]) -> str:
    """Ways that were tried for speed, as multiples of the time of what is done."""
    lines = ["| | network | images | times what is done |", "|---|---|---:|---:|"]
    lines += [f"| {row['what']} | {row['network']} | {row['images']} | {row['ratio']:.2f} |" for row in read["rows"]]
    where = f"medians of {read['rounds']} rounds; {read['hardware']}, torch {read['torch']}; `declined.py`."
    return "\n".join([*lines, "", where])


def suites(records: Sequence[Record]) -> str:
    """`ablation.compared`, with the papers' protocol on the same weights, and where the records come from."""
    sources = dict.fromkeys(f"{r.provenance.data}. {r.provenance.hardware}." for r in records)
    papers, openings = (
        [Record.load(path) for pattern in read for path in sorted(ROOT.glob(pattern))] for read in (PAPERS, [QUICK])
    )
    table = compared(records, papers, openings)
    return "\n\n".join([table, *(f"Data: {line}" for line in sources)])


KINDS: dict[str, Callable[[Sequence[Record]], str]] = {
    "table": accuracies, "mechanism": mechanism, "grid": grid, "order": order, "suites": suites, "ablation": ablation,
    "quick": lambda records: beside_spike(records, [Record.load(path) for path in sorted(ROOT.glob(SPIKES))]),
    "histograms": histograms,
}  # fmt: skip
"""Blocks made from the records that match a pattern."""


FIGURES: dict[str, Callable[[Sequence[Any]], str]] = {
    "certificates": certificates, "parity": lambda read: parity(read[0]), "speed": lambda read: bench.tables(read[0]),
    "steps": lambda read: steps(read[0]), "pgd": lambda read: pgd(read[0]),
    "shares": lambda read: shares(read[0]), "reproduced": reproduced, "declined": lambda read: declined(read[0]),
    "layers": lambda read: layers(read[0]),
}  # fmt: skip
"""Blocks made from JSON that is no record."""


def filled(text: str) -> str:
    """The page with every table made anew. Records come in the order of their file names."""

    def table(match: re.Match[str]) -> str:
        if match["kind"] == "defenses":
            return f"{match[1]}\n{contents()}\n\n{match[4]}"
        paths = sorted(ROOT.glob(match["pattern"]))
        if not paths:
            raise SystemExit(f"no records match {match['pattern']}")
        if match["kind"] in FIGURES:
            read = [json.loads(path.read_text()) for path in paths]
            return f"{match[1]}\n{FIGURES[match['kind']](read)}\n\n{match[4]}"
        records = [Record.load(path) for path in paths]
        made = KINDS[match["kind"]](records)
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
