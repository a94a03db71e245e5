"""One HTML page of an analysis, made from its findings alone."""

import json
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from plotly.offline import get_plotlyjs

from snnguard.findings import Findings
from snnguard.record import write_atomic

from .findings_facts import facts
from .findings_figures import FIGURES
from .page import embedded
from .table import printable, threat_text

SECTIONS = {
    "membranes": (
        "Membrane potentials, step by step",
        "Before the reset; dotted is the threshold, shaded the window in which the surrogate lets gradient through, dashed the "
        "normal distribution with the same mean and standard deviation. The outermost bins gather what lies beyond them and "
        "are left out.",
    ),
    "moments": (
        "Means and variances against a theorem",
        "Dashed is Theorem 1 of MPD-SGR, from the parameters of the normalisation that feeds a layer and its measured firing "
        "rates. It assumes a reset that subtracts and currents that are independent from step to step.",
    ),
    "flips": (
        "Spikes that noise turns over",
        "Noise in the membranes of one layer at a time. Dashed is the probability that the noise of one step alone turns a "
        "spike over (Theorem 1 of TGO); in later steps there is also what the membrane has kept. The last point gathers all "
        "that lies beyond.",
    ),
    "patterns": (
        "Firing patterns within reach",
        "At random points of balls around each image. What is met is a lower bound of what is there.",
    ),
    "jacobians": (
        "Sensitivity of the logits",
        "Norms of the map from image to logits: by surrogate gradients, and with the firing pattern held fixed and read as the "
        "gates of a rectified network. Neither bounds the steps that a spiking network makes.",
    ),
    "gradients": (
        "The input gradient, rule by rule",
        "Where it is zero an attacker has nothing to follow, and robustness measured with it means little.",
    ),
    "surfaces": (
        "The loss around the images",
        "Mean over the images. Where the loss rises more along the random direction than along the attack's, the gradient is "
        "of no use to the attacker.",
    ),
    "curves": ("Accuracy against the radius of the attack", "Bands are 95 % intervals."),
    "steps": (
        "Accuracy against the steps of the attack",
        "A curve that still falls at its end asks for more steps. Bands are 95 % intervals.",
    ),
    "constants": (
        "Other constants after training",
        "The same weights with another decay, threshold or number of steps, and attacked anew. Dotted is the constant of "
        "training, bands are 95 % intervals.",
    ),
    "energy": (
        "Activity and energy",
        "A model, no measurement: 32-bit operations in 45 nm (Horowitz 2014), without memory, membranes and normalisation.",
    ),
    "classes": ("Class by class", "Whiskers are 95 % intervals."),
}
"""Title and explanation of each field of the findings, in the order of the page."""


def analysis_page(findings: Findings, *, title: str = "") -> str:
    """The page as HTML. All text is escaped; it asks no other host for anything."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files(__package__).joinpath("findings.html").read_text("utf-8"))
    said = facts(findings)
    sections = [
        {
            "id": name,
            "title": heading,
            "text": text,
            "facts": [printable(line) for line in said.get(name, ())],
            "figures": [(figure.layout.title.text, embedded(figure)) for figure in FIGURES[name](getattr(findings, name))],
        }
        for name, (heading, text) in SECTIONS.items()
        if getattr(findings, name)
    ]
    source = findings.provenance
    return template.render(
        title=printable(title or f"Analysis of {findings.name}"),
        facts=[f"{findings.images:,} images", threat_text(findings.threat), f"seed {findings.seed}"],
        sections=sections,
        provenance=json.dumps(asdict(source), indent=2, ensure_ascii=False) if source else "",
        plotly=get_plotlyjs().replace("</script", r"<\/script"),  # its own code, not anybody's data
    )


def write_analysis(findings: Findings, path: Path, *, title: str = "") -> None:
    """Writes the page, atomically. Raises `RequestError` if the disk is full or the folder cannot be written."""
    write_atomic(path, analysis_page(findings, title=title).encode())
