import json
import math
import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs

from snnguard.comparison import Claim, Comparison, ComparisonCell
from snnguard.errors import RequestError
from snnguard.report import render, sentences, write

PLOTLY = get_plotlyjs()
ROOT = Path(__file__).parents[2]


class Reader(HTMLParser):
    """Elements with their attributes, the text outside of scripts and styles, and the JSON of the figures."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.text, self.data, self.stack = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "input"):
            self.stack.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.stack.pop()[0] == tag

    def handle_data(self, data):
        tag, attrs = self.stack[-1] if self.stack else ("", {})
        if attrs.get("type") == "application/json":
            self.data.append(json.loads(data))
        elif tag not in ("script", "style"):
            self.text.append(data)

    def having(self, name):
        return [(tag, attrs) for tag, attrs in self.elements if name in attrs]


def own(page):
    """The page without the code of plotly.js."""
    return page.replace(PLOTLY, "")


@pytest.fixture
def html(page):
    return render(page, title="a title")


def test_the_page_is_well_formed_and_shows_every_number(page, html):
    reader = Reader(own(html))
    assert reader.stack == []
    text = " ".join(reader.text)
    for record in page:
        assert record.name in text
        for result in record.attacks:
            hits = sum(result.correct.values)
            assert f"{hits}/1000" in text
            assert f"{100 * hits / 1000:.1f} % (" in text
    turned = page[0].clean.hits - page[0].find("pgd-7/rate").correct.hits
    assert f"{turned}/970" in text


def test_plotly_is_there_once(html):
    assert html.count(PLOTLY) == 1
    assert "plotly.js v" not in own(html)


def test_nothing_is_loaded_from_elsewhere(html):
    rest = own(html)
    assert not re.search(r"https?://|@import|url\(|//cdn", rest)
    reader = Reader(rest)
    for name in ("src", "href", "srcset", "action", "data", "poster"):
        for _, attrs in reader.having(name):
            assert re.match(r"#|data:image/png;base64,", attrs[name])
    assert not {"link", "iframe", "object", "embed", "base"} & {tag for tag, _ in reader.elements}
    policy = [a["content"] for t, a in reader.elements if t == "meta" and a.get("http-equiv")]
    assert policy[0].startswith("default-src 'none'")


def test_every_figure_is_json_with_a_place_and_a_label(html):
    reader = Reader(own(html))
    places = {a["id"]: a for _, a in reader.having("role") if a["role"] == "img"}
    sources = [a["data-for"] for _, a in reader.having("data-for")]
    assert sorted(places) == sorted([*sources, "membrane", "pair-plot"])  # these two are drawn by the reader's choice
    assert len(sources) == 1 + 1 + 8
    assert len(reader.data) == len(sources) + 2
    assert all(a["aria-label"] for a in places.values())
    assert sum(bool(figure.get("data")) for figure in reader.data) == len(sources)


def test_images_have_alternative_texts_with_their_labels(html):
    images = [a for t, a in Reader(own(html)).elements if t == "img"]
    assert len(images) == 5 * 3 * 3
    assert "clean, true label 3, classified as 3" in images[0]["alt"]
    assert "attacked, classified as 8" in images[1]["alt"]
    assert "amplified 10 times" in images[2]["alt"]
    assert len({a["alt"] for a in images}) == len(images)


def test_table_headers_have_a_scope_and_ids_are_unique(html):
    reader = Reader(own(html))
    assert all(a.get("scope") in ("row", "col") for t, a in reader.elements if t == "th")
    ids = [a["id"] for _, a in reader.having("id")]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for _, a in reader.having("href")} <= set(ids)


def test_suspicions_are_marked_and_explained(page, html):
    text = " ".join(Reader(own(html)).text)
    assert "one-step-gap" in text
    assert "an excess of 62 points" in text
    assert own(html).count('class="mark" href') == 4  # its row, its worst case, and the two attacks that it names
    assert "No suspicions were raised" in render(page[:1])


def test_the_summary_is_made_from_the_records_unless_given(page, html):
    assert sentences(page) in " ".join(Reader(own(html)).text)
    given = render(page, summary="in <b>short</b>")
    assert "in &lt;b&gt;short&lt;/b&gt;" in given
    assert sentences(page) not in given


NASTY = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"' onload='x"


def test_what_users_wrote_stays_text(record, attack, curve, membrane, picture, epochs, logged, suspicion):
    labels = {"label": NASTY, "clean_label": NASTY, "adversarial_label": NASTY, "clean": NASTY, "attack": NASTY}
    evil = record(
        NASTY,
        90,
        100,
        [attack(f"{NASTY}/bptt", 5, 100, attack={NASTY: NASTY}, rule=NASTY)],
        suite=NASTY,
        suspicions=(suspicion(NASTY, NASTY),),
        curves=(curve(100, [9, 5], NASTY),),
        membranes=(membrane(NASTY),),
        pictures=(picture(**labels),),
        epochs=logged(tuple(e | {f"penalty.{NASTY}": 1.0} for e in epochs(2)), NASTY),
        notes={NASTY: NASTY},
        threat={"kind": NASTY, "eps": 1.0},
    )
    claim = Claim(text=NASTY, source=NASTY, verdict="holds", reason=NASTY)
    cell = ComparisonCell(row=NASTY, column=NASTY, ours=1.0, spread=1.0, seeds=2, published=1.0)
    published = Comparison(title=NASTY, scale=NASTY, note=NASTY, cells=(cell,), claims=(claim,))
    page = render([evil, record(NASTY)], title=NASTY, comparison=published)
    reader = Reader(own(page))
    kinds = [a.get("type", "code") for t, a in reader.elements if t == "script"]
    assert kinds.count("code") == 2
    assert not [a for _, a in reader.elements if any(k.startswith("on") for k in a)]
    assert len([t for t, _ in reader.elements if t == "img"]) == 3
    assert "alert(1)" in "".join(reader.text)
    for source in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', own(page), re.S):
        assert not set("<>&") & set(source)


def test_published_numbers_stand_beside_ours(page):
    cells = (
        ComparisonCell(row="AT", column="clean", ours=81.26, spread=0.44, seeds=3, published=84.0),
        ComparisonCell(row="AT", column="PGD-7", ours=40.0, spread=None, seeds=1, published=None),
        ComparisonCell(row="TGO", column="clean", ours=None, spread=None, seeds=0, published=90.0),
    )
    claims = tuple(
        Claim(text=f"claim {i}", source="Table 1", verdict=verdict, reason=f"reason {i}")
        for i, verdict in enumerate(("holds", "does not hold", "cannot be told"))
    )
    comparison = Comparison(title="Table 1", scale="a tenth of the images", note="", cells=cells, claims=claims)
    text = " ".join(Reader(own(render(page[:1], comparison=comparison))).text)
    assert "81.3 ± 0.4 paper 84.0 difference −2.7" in text
    assert "40.0 paper –" in text
    assert "– paper 90.0" in text
    assert "over 1 to 3 training runs" in text
    for said in ("✓ holds", "✗ does not hold", "? cannot be told", "claim 1", "reason 2", "a tenth of the images"):
        assert said in text
    assert "Published and ours" not in render(page[:1])


def test_every_file_of_the_page_is_packed():
    """The wheel holds what the patterns of `package-data` name, and the page is made of nothing else."""
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["snnguard.report"]
    folder = ROOT / "src" / "snnguard" / "report"
    packed = {path.name for pattern in patterns for path in folder.glob(pattern)}
    assert packed == {path.name for path in folder.iterdir() if path.suffix not in (".py", "")}


def test_no_records_no_samples_and_not_a_number(record, attack, membrane, curve):
    Reader(render([]))
    empty = record("a", 0, 0, [attack("fgsm/bptt", 0, 0, mean_l2=math.nan, mean_linf=math.nan)], curves=(curve(0, [0]),))
    reader = Reader(own(render([empty, record("b")])))
    assert "nan %" not in " ".join(reader.text)


def test_write_makes_the_file_and_says_when_it_cannot(tmp_path, page):
    write(page[:1], tmp_path / "new" / "report.html", title="t")
    assert (tmp_path / "new" / "report.html").read_text("utf-8") == render(page[:1], title="t")
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match="cannot write"):
        write([], tmp_path / "file" / "report.html")
