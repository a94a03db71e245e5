"""The figures for papers: they are there, they are read back, and the same records give the same bytes."""

import io
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
from PIL import Image

from snnguard.errors import RequestError
from snnguard.report import figures
from snnguard.report.print import accuracy, export, membranes, radius


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    from .conftest import a_page

    folder = tmp_path_factory.mktemp("print")
    return export(a_page()[1:4], folder / "new")


def test_all_files_are_written_and_parse(exported):
    names = [path.name for path in exported]
    drawn = [f"{name}.{ending}" for name in ("accuracy", "radius-linf", "membranes") for ending in ("svg", "png")]
    assert names == ["table.tex", *drawn]
    for path in exported[1:]:
        if path.suffix == ".png":
            with Image.open(path) as image:
                image.load()
                assert image.width > 600
        else:
            text = "".join(ElementTree.parse(path).getroot().itertext())
            assert "adversarial training" in text


def test_the_same_records_give_the_same_bytes(exported, page, tmp_path):
    again = export([replace(r) for r in page[1:4]], tmp_path)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in exported]


def test_bars_are_the_shares_and_whiskers_the_intervals(record, attack, loose):
    results = [attack("fgsm/bptt", 40, 100), loose("cw", 3, 100)]
    (axes,) = accuracy([record("a", 90, 100, results), record("b", 80, 100)]).axes
    first, second = axes.containers[1], axes.containers[3]
    assert [bar.get_height() for bar in first] == pytest.approx([90, 40, 40, 3])
    assert [bar.get_height() for bar in second] == pytest.approx([80])  # nothing where nothing was run
    assert [label.get_text() for label in axes.get_xticklabels()] == ["clean", "fgsm", "worst case", "cw *"]
    low, high = record("a", 90, 100).accuracy.low, record("a", 90, 100).accuracy.high
    whisker = axes.containers[0].lines[2][0].get_segments()[0]
    assert [y for _, y in whisker] == pytest.approx([100 * low, 100 * high])
    assert first[0].get_facecolor() != second[0].get_facecolor()


def test_curves_are_in_units_of_1_over_255_and_in_the_colours_of_the_page(record, curve):
    records = [record("a"), record("b", curves=(curve(100, [90, 50, 20]),))]
    (axes,) = radius(records).axes
    (line,) = axes.lines
    assert list(line.get_xdata()) == pytest.approx([0, 2, 4])
    assert list(line.get_ydata()) == pytest.approx([90, 50, 20])
    assert line.get_color() == figures.colour(1)
    assert len(radius(records, kind="l2").axes[0].lines) == 0


def test_one_panel_per_layer_with_a_density(record, membrane):
    layers = tuple(membrane(f"conv{i}") for i in range(1, 6))
    panels = membranes([record("a", membranes=layers)]).axes
    assert [axes.get_title(loc="left") for axes in panels if axes.get_visible()] == [m.layer for m in layers]
    values, edges, _ = panels[0].patches[-1].get_data()
    assert sum(values * (edges[1:] - edges[:-1])) == pytest.approx(1)


def test_what_has_no_data_is_left_out(record, tmp_path):
    assert [path.name for path in export([record("a")], tmp_path)] == ["table.tex", "accuracy.svg", "accuracy.png"]
    assert [path.name for path in export([record("a", 0, 0)], tmp_path)] == ["table.tex"]


def test_a_folder_that_cannot_be_written_is_named(record, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match="cannot write"):
        export([record("a")], tmp_path / "file")


def test_names_are_no_formulas(record, tmp_path):
    export([record("$\\frac{1}{2}$ <b>", 9, 10)], tmp_path)
    text = "".join(ElementTree.parse(io.BytesIO((tmp_path / "accuracy.svg").read_bytes())).getroot().itertext())
    assert "$\\frac{1}{2}$ <b>" in text
