"""The page of an analysis: everything on it, nothing loaded, text stays text, and figures that show the numbers."""

import dataclasses
import json
import math
import re

import pytest
from plotly.offline import get_plotlyjs

from snnguard.findings import (
    Activity,
    ChannelMoments,
    ClassRobustness,
    ConstantSweep,
    Energy,
    Findings,
    Flips,
    GradientStatistics,
    JacobianNorms,
    Operations,
    Patterns,
    StepMembrane,
    StepSweep,
    Surface,
)
from snnguard.record import Curve, Interval, Provenance
from snnguard.report import analysis_page, facts, write_analysis
from snnguard.report.findings_facts import FACTS
from snnguard.report.findings_figures import FIGURES
from snnguard.report.findings_page import SECTIONS

PLOTLY = get_plotlyjs().replace("</script", r"<\/script")


def membrane(layer: str, step: int, **fields: object) -> StepMembrane:
    values = {
        "edges": (-1.0, 0.0, 1.0, 2.0), "counts": (1, 4, 3), "mean": 0.5, "std": 0.8, "skewness": 0.1,
        "excess_kurtosis": -0.2, "ks_distance": 0.05 * step, "window": 1.0, "overlap": 0.6, "gaussian_overlap": 0.65,
        "proximal": 0.3, "proximal_band": 0.5, "rate": 0.2,
    }  # fmt: skip
    return StepMembrane(**{"layer": layer, "step": step, **values, **fields})


def everything(word: str = "conv") -> Findings:
    """Made-up findings; `word` stands wherever text of others can."""
    shares = (Interval.of(9, 10), Interval.of(4, 10))
    return Findings(
        name=word, threat={"kind": "linf", "eps": 0.1, "low": 0.0, "high": 1.0}, images=10, seed=3,
        membranes=tuple(membrane(layer, step) for layer in (word, "last") for step in (1, 2)),
        moments=(
            ChannelMoments(
                layer=word, normalisation=word, departures=(word,), mean=((0.0, 1.0), (0.0, 2.0)),
                predicted_mean=((0.0, 1.0), (0.5, 1.5)), std=((1.0, 1.0), (1.0, 1.0)),
                predicted_std=((1.0, 1.0), (2.0, 3.0)), repeated_std=((1.0, 1.0), (2.0, 2.0)),
            ),
        ),
        flips=tuple(
            Flips(
                layer=word, step=step, sigma=0.2, edges=(0.0, 2.0, 4.0), counts=(8, 0), flipped=(step, 0), expected=(2.0, 0.0)
            )
            for step in (1, 2, 3)
        ),
        patterns=(Patterns(eps=0.1, samples=4, distinct=(1, 5), moved=(0.0, 1.0), changed={word: 0.25}),),
        jacobians=(JacobianNorms(rule=word, norm="linf", frobenius=(3.0, 4.0), spectral=(1.0, 2.0), operator=(5.0, 6.0)),),
        gradients=(GradientStatistics(rule=word, zero_entries=0.25, zero_images=0.0, l1=(2.0, 3.0), l2=(0.5, 0.25)),),
        surfaces=(
            Surface(
                rule=word, eps=0.1, along=(-0.1, 0.0, 0.1), across=(-0.1, 0.0, 0.1),
                loss=((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), (7.0, 8.0, 9.0)), accuracy=((1.0,) * 3,) * 3,
            ),
        ),
        curves=(Curve(name=word, eps=(0.0, 0.1), accuracy=shares),),
        steps=(StepSweep(name=word, steps=(0, 5), accuracy=shares),),
        constants=(
            ConstantSweep(constant="decay", trained=1.0, values=(0.5, 1.0), clean=shares, attacked=shares[::-1]),
            ConstantSweep(constant="steps", trained=4.0, values=(), clean=(), attacked=(), refused=f"no {word}"),
        ),
        energy=(
            Energy(
                activity=(Activity(layer=word, neurons=10, spikes=20.0, rate=0.5),),
                operations=(Operations(layer=word, accumulations=1000.0, multiplications=500.0, dense=2000.0),),
                accumulation_pj=0.9, multiplication_pj=4.6, spiking_pj=3200.0, ann_pj=9200.0,
            ),
        ),
        classes=(ClassRobustness(label=word, clean=shares[0], attacked=shares[1], confusions=((word, 3),)),),
        provenance=Provenance(
            command=word, created="", commit="", versions={}, hardware="", recipe={"name": word}, data="", weights="", seed=3
        ),
    )  # fmt: skip


def own(page: str) -> str:
    return page.replace(PLOTLY, "")


def test_every_field_of_findings_has_its_section_sentence_and_figure() -> None:
    empty = {"name", "threat", "images", "seed", "provenance"}
    fields = [entry.name for entry in dataclasses.fields(Findings) if entry.name not in empty]
    assert list(SECTIONS) == list(FACTS) == list(FIGURES) == fields


def test_all_figures_are_there_and_nothing_is_loaded() -> None:
    html = analysis_page(everything())
    assert html.count(PLOTLY) == 1
    rest = own(html)
    assert not re.search(r"https?://|@import|url\(|//cdn|<link|<iframe", rest)
    assert "content=\"default-src 'none'; script-src 'unsafe-inline'" in rest
    found = everything()
    drawn = [figure for name, draw in FIGURES.items() for figure in draw(getattr(found, name))]
    data = re.findall(r'<script type="application/json" data-for="([^"]+)">(.*?)</script>', rest, re.DOTALL)
    assert len(data) == len(drawn) == 5 + 2 + 2 + 2 + 2 + 2 + 1 + 1 + 1 + 1 + 2 + 1
    assert all(json.loads(text)["data"] for _, text in data)
    places = re.findall(r'<div class="plot" id="([^"]+)"', rest)
    assert places == [name for name, _ in data]
    assert len(set(places)) == len(places)
    for title, _ in SECTIONS.values():
        assert f">{title}</h2>" in rest


def test_what_was_not_asked_is_not_shown(tmp_path) -> None:
    found = Findings(name="n", threat={"kind": "l2", "eps": 0.5}, images=2, seed=0, steps=everything().steps)
    write_analysis(found, tmp_path / "a.html", title="a title")
    html = own((tmp_path / "a.html").read_text())
    assert re.findall(r'<h2 id="([^"]+)"', html) == ["steps"]
    assert "Provenance" not in html
    assert "<h1>a title</h1>" in html
    assert facts(found) == {"steps": ("conv: 90.0 % (59.6–98.2) after 0 steps, 40.0 % (16.8–68.7) after 5",)}


def test_text_of_others_stays_text() -> None:
    nasty = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"' onload='x"
    html = own(analysis_page(everything(nasty)))
    assert "<script>alert" not in html
    assert "<img" not in html
    assert len(re.findall(r"<script", html)) == 22 + 2  # the figures, plotly and ours


def test_the_sentences_say_the_numbers() -> None:
    said = {name: " ".join(lines) for name, lines in facts(everything()).items()}
    assert "60.0 % of the potentials lie inside the surrogate window, 30.0 % within 0.5" in said["membranes"]
    assert "conv at step 2 (distance 0.100)" in said["membranes"]
    assert "off by 0.5 in the mean, by 1.5 in the spread; the theorem does not know: conv" in said["moments"]
    assert "step 3: 3 spikes turned over by noise of 0.2, 2 by the theorem" in said["flips"]
    assert "3.0 patterns at 5 points, 25.0 % of the spikes changed" in said["patterns"]
    assert "median spectral norm 1.5" in said["jacobians"]
    assert "25.0 % of the entries are zero, 0.0 % of the images have no gradient, median L2 norm 0.375" in said["gradients"]
    assert "loss 5 at the images, 8 at eps along the attack, 6 along a random" in said["surfaces"]
    assert said["curves"] == "conv: 90.0 % (59.6–98.2) at eps 0 conv: 40.0 % (16.8–68.7) at eps 0.1"
    assert said["constants"] == "decay (trained with 1): best under attack at 1, 90.0 % steps: no conv"
    assert said["energy"].startswith("3.2 nJ per image, 9.2 nJ for the same network as an ANN; 20 spikes")
    assert said["classes"] == "conv: 90.0 % clean, 40.0 % attacked, mostly taken for conv (3)"


def test_histograms_are_densities_beside_their_gaussians() -> None:
    layer = FIGURES["membranes"](everything().membranes)[0]
    first, bell = layer.data[:2]
    assert list(first.y) == [0.5]  # 4 of 8 in a bin of width 1; the outermost bins are left out
    assert bell.y[1] == pytest.approx(1 / (0.8 * math.sqrt(2 * math.pi)))
    assert (first.line.dash, bell.line.dash) == ("solid", "dash")
    flat = FIGURES["membranes"]([membrane("a", 1, std=0.0, ks_distance=None)])[0]
    assert len(flat.data) == 1


def test_a_surface_has_the_attack_to_the_right() -> None:
    [figure] = FIGURES["surfaces"](everything().surfaces)
    [contour] = figure.data
    assert [list(row) for row in contour.z] == [[1, 4, 7], [2, 5, 8], [3, 6, 9]]  # rows are points across


def test_energy_is_in_nanojoules() -> None:
    bars, rates = FIGURES["energy"](everything().energy)
    assert [trace.y[0] for trace in bars.data] == pytest.approx([0.9, 2.3, 9.2])
    assert rates.data[0].y == (0.5,)


def test_empty_bins_of_flips_leave_no_point() -> None:
    first, last = FIGURES["flips"](everything().flips)
    assert list(first.data[0].x) == [1.0]
    assert (first.data[0].y[0], last.data[0].y[0], last.data[1].y[0]) == (12.5, 37.5, 25.0)
