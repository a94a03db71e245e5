"""One HTML page from records: it holds everything it shows, opens from a file and asks no other host for anything."""

import json
import math
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from snnguard.comparison import Comparison
from snnguard.record import AttackResult, Picture, Record, write_atomic

from . import figures
from .courses import courses, drawn
from .explain import sentences, warning
from .history import history
from .pairs import chart, pairs
from .table import full, names, printable, rows, threat_text

SCRIPTS = ("plots.js", "table.js", "compare.js", "images.js", "membranes.js", "copy.js")
"""The page's own scripts in the order in which they run; the later ones draw with `plots` of the first."""

UNNAMED = "not named"
"""Stands for the attack of a picture whose record does not say which it was."""


def render(
    records: Sequence[Record], *, title: str = "SNNGuard report", summary: str = "", comparison: Comparison | None = None
) -> str:  # fmt: skip
    """The page as HTML. All text is escaped.

    Without a `summary` it opens with `sentences(records)`; what should make one suspicious follows. A `comparison` shows
    published numbers beside ours.
    """
    table = rows(records, condensed=True)
    threats = dict.fromkeys(str(r.threat.get("kind", "linf")) for r in records if r.curves)
    views = [_view(r, n, i) for i, (r, n) in enumerate(zip(records, names(records), strict=True))]
    layers = history(records)
    return _environment().get_template("page.html").render(
        title=printable(title),
        summary=summary or sentences(records),
        warning=warning(records),
        facts=_facts(records),
        table=table,
        inside=sum(c.bounded for c in table.columns),
        bars=embedded(figures.attacks(records)) if records else None,
        curves=[embedded(figures.robustness(records, kind=kind)) for kind in threats],
        comparison=comparison,
        published=None if comparison is None else _published(comparison),
        courses=[(course, embedded(drawn(course))) for course in courses(comparison)] if comparison else [],
        pairs=_inline({"pairs": pairs(records), "figure": chart().to_plotly_json()}) if len(records) > 1 else None,
        pictures=any(record.pictures for record in records),
        choices=_choices(records, views),
        history=layers,
        histories=_inline(layers),
        training=[(quantity, embedded(figure)) for quantity, figure in figures.training(records).items()],
        views=views,
        scripts=SCRIPTS,
        plotly=get_plotlyjs().replace("</script", r"<\/script"),  # its own code, not anybody's data
    )  # fmt: skip


def write(
    records: Sequence[Record], path: Path, *, title: str = "SNNGuard report", summary: str = "",
    comparison: Comparison | None = None,
) -> None:  # fmt: skip
    """Writes the page, atomically. Raises `RequestError` if the disk is full or the folder cannot be written."""
    write_atomic(path, render(records, title=title, summary=summary, comparison=comparison).encode())


def _environment() -> Environment:
    loader = PackageLoader(__package__, ".")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # fmt: skip
    environment.filters |= {"full": full, "printable": printable, "outcome": _outcome, "number": _number, "signed": _signed}
    environment.globals["unnamed"] = UNNAMED
    environment.globals["inlined"] = lambda name: files(__package__).joinpath(name).read_text("utf-8")
    return environment


def embedded(figure: Any) -> str:
    """A figure as JSON for a script element."""
    return _inline(json.loads(figure.to_json()))


def _inline(data: Any) -> str:
    """JSON that is safe inside a script element: no `<`, `>` or `&` is left in it, and not a number is null."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    text = text.replace("\u2028", r"\u2028").replace("\u2029", r"\u2029")
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
        "index": index,
        "words": " ".join([name, *_kinds(source.recipe.get("defense"))]),
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
        "order": {
            "accuracy": _key(result.accuracy.point),
            "success": _key(result.success(record.clean).point),
            "linf": _key(result.mean_linf),
            "l2": _key(result.mean_l2),
            "zero": _key(zero),
        },
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


def _key(value: float | None) -> str:
    """What a cell is sorted by; nothing where there is no number."""
    return "" if value is None or not math.isfinite(value) else f"{value:.9g}"


def _kinds(value: Any) -> list[str]:
    """The names of all choices inside one, as of the defenses of a stack; a page finds a network by them."""
    if isinstance(value, dict):
        own = [printable(str(value["kind"]))] if "kind" in value else []
        return own + [kind for part in value.values() for kind in _kinds(part)]
    return [kind for part in value for kind in _kinds(part)] if isinstance(value, list) else []


def _outcome(picture: Picture) -> str:
    if picture.clean_label != picture.label:
        return "wrong"
    return "withstood" if picture.adversarial_label == picture.label else "turned"


def _choices(records: Sequence[Record], views: Sequence[dict[str, Any]]) -> dict[str, list[tuple[str, str]]]:
    """Value and text of what the page's lists offer: networks, and attacks and classes of the pictures."""
    shown = [picture for record in records for picture in record.pictures]
    attacks = dict.fromkeys(printable(p.attack) or UNNAMED for p in shown)
    classes = dict.fromkeys(printable(label) for record in records for label in record.labels)
    seen = {printable(p.label) for p in shown}
    return {
        "networks": [(str(view["index"]), view["name"]) for view in views],
        "attacks": [(attack, attack) for attack in attacks],
        "labels": [(label, label) for label in dict.fromkeys([*classes, *seen]) if label in seen],
    }


def _published(comparison: Comparison) -> dict[str, Any]:
    """The cells as a table: the rows and the columns in the order of their first cells."""
    cells = {(cell.row, cell.column): cell for cell in comparison.cells}
    columns = list(dict.fromkeys(cell.column for cell in comparison.cells))
    lines = [(row, [cells.get((row, c)) for c in columns]) for row in dict.fromkeys(cell.row for cell in comparison.cells)]
    counts = sorted({cell.seeds for cell in comparison.cells if cell.ours is not None})
    runs = " to ".join(str(count) for count in dict.fromkeys(counts[:1] + counts[-1:])) or "no"
    return {"columns": columns, "rows": lines, "seeds": f"{runs} training run{'s' * (runs != '1')}"}


def _number(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.1f}"


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")
