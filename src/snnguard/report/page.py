"""One HTML page from records: it holds everything it shows, opens from a file and asks no other host for anything."""

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from plotly.offline import get_plotlyjs

from snnguard.record import AttackResult, Record, write_atomic

from . import figures
from .explain import sentences, warning
from .table import full, names, printable, rows, threat_text


def render(records: Sequence[Record], *, title: str = "SNNGuard report", summary: str = "") -> str:
    """The page as HTML. All text is escaped.

    Without a `summary` it opens with `sentences(records)`; what should make one suspicious follows.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"full": full, "printable": printable}
    template = environment.from_string(files(__package__).joinpath("page.html").read_text("utf-8"))
    table = rows(records, condensed=True)
    inside = sum(c.bounded for c in table.columns)
    threats = dict.fromkeys(str(r.threat.get("kind", "linf")) for r in records if r.curves)
    return template.render(
        title=printable(title),
        summary=summary or sentences(records),
        warning=warning(records),
        facts=_facts(records),
        table=table,
        inside=inside,
        bars=embedded(figures.attacks(records)) if records else None,
        curves=[embedded(figures.robustness(records, kind=kind)) for kind in threats],
        membranes=[(layer, embedded(figure)) for layer, figure in figures.membranes(records).items()],
        training=[(quantity, embedded(figure)) for quantity, figure in figures.training(records).items()],
        views=[_view(r, n, i) for i, (r, n) in enumerate(zip(records, names(records), strict=True))],
        plotly=get_plotlyjs().replace("</script", r"<\/script"),  # its own code, not anybody's data
    )


def write(records: Sequence[Record], path: Path, *, title: str = "SNNGuard report", summary: str = "") -> None:
    """Writes the page, atomically. Raises `RequestError` if the disk is full or the folder cannot be written."""
    write_atomic(path, render(records, title=title, summary=summary).encode())


def embedded(figure: Any) -> str:
    """The figure as JSON that is safe inside a script element: no `<`, `>` or `&` is left in it."""
    text = str(figure.to_json()).replace("\u2028", r"\u2028").replace("\u2029", r"\u2029")
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _facts(records: Sequence[Record]) -> list[str]:
    """What the line below the title says: how many records, which threat, how many images, when."""
    counts = sorted({len(r.clean) for r in records})
    facts = [
        f"{len(records)} record{'s' * (len(records) != 1)}",
        *dict.fromkeys(threat_text(r.threat) for r in records),
    ]
    if counts:
        facts.append(" to ".join(f"{c:,}" for c in dict.fromkeys((counts[0], counts[-1]))) + " images")
        facts += dict.fromkeys(f"suite {printable(r.suite)}" for r in records)
        facts.append(max(printable(r.provenance.created) for r in records)[:10])
    return facts


def _view(record: Record, name: str, index: int) -> dict[str, Any]:
    source = record.provenance
    versions = ", ".join(f"{k} {v}" for k, v in source.versions.items())
    return {
        "name": name,
        "colour": figures.colour(index),
        "record": record,
        "threat": threat_text(record.threat),
        "attacks": [_attack(record, result) for result in record.attacks],
        "recipe": json.dumps(source.recipe, indent=2, ensure_ascii=False),
        "notes": json.dumps(record.notes, indent=2, ensure_ascii=False) if record.notes else "",
        "provenance": [
            ("command", source.command),
            ("created", source.created),
            ("commit", source.commit),
            ("versions", versions),
            ("hardware", source.hardware),
            ("data", source.data),
            ("weights (hash)", source.weights),
            ("seed", str(source.seed)),
            ("threat", ", ".join(f"{k}={v}" for k, v in record.threat.items())),
            ("stochastic", "yes, judged with fresh draws" if record.stochastic else "no"),
        ],
    }


def _attack(record: Record, result: AttackResult) -> dict[str, Any]:
    """One line of the full table. The success rate counts the images that were right without the attack."""
    unit = (record.threat.get("low", 0), record.threat.get("high", 1)) == (0, 1)
    zero = result.zero_gradient_share
    return {
        "name": printable(result.name),
        "rule": printable(result.rule) or "–",
        "bounded": Record.counts_for_worst(result),
        "parameters": ", ".join(_flat(result.attack)) or "none",
        "accuracy": full(result.accuracy),
        "kept": f"{result.correct.hits}/{len(result.correct)}",
        "success": full(result.success(record.clean)),
        "turned": _turned(record, result),
        "linf": f"{result.mean_linf * 255:.2f}/255" if unit else f"{result.mean_linf:.4g}",
        "l2": f"{result.mean_l2:.3g}",
        "zero": "–" if zero is None else f"{100 * zero:.1f} %",
        "draws": f"{result.draws} / {result.eval_draws}",
        "seed": result.seed,
        "seconds": f"{result.seconds:.1f}",
    }


def _turned(record: Record, result: AttackResult) -> str:
    attacked = record.clean.hits if result.attacked is None else result.attacked
    return f"{attacked - (record.clean & result.correct).hits}/{attacked}"


def _flat(value: dict[str, Any], prefix: str = "") -> list[str]:
    """`["steps=7", "gradient.rule.kind=bptt"]`: the leaves of nested parameters with their paths."""
    lines = []
    for key, item in value.items():
        lines += _flat(item, f"{prefix}{key}.") if isinstance(item, dict) else [printable(f"{prefix}{key}={item}")]
    return lines
