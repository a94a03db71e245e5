import dataclasses
import json
import math

import pytest

from snnguard.record import Interval
from snnguard.report import figures


def named(figure):
    return {t.name: t for t in figure.data if t.name}


def test_bars_show_the_share_that_survives_and_reach_the_interval(record):
    figure = figures.attacks([record("a", 90, 100, {"fgsm/bptt": 40, "pgd-7/bptt": 30})])
    bar = named(figure)["a"]
    assert list(bar.x) == ["clean", "fgsm", "pgd-7", "<b>worst case</b>"]
    assert list(bar.y) == pytest.approx([90, 40, 30, 30])
    low, high = Interval.of(40, 100).low, Interval.of(40, 100).high
    assert bar.y[1] + bar.error_y.array[1] == pytest.approx(100 * high)
    assert bar.y[1] - bar.error_y.arrayminus[1] == pytest.approx(100 * low)


def test_bars_set_unbounded_attacks_apart(record, attack, loose):
    figure = figures.attacks([record("a", 90, 100, [loose("cw", 3, 100), attack("fgsm/bptt", 40, 100)])])
    assert list(figure.data[0].x)[1:] == ["fgsm", "<b>worst case</b>", "cw<br>(unbounded)"]
    assert list(figure.data[0].y)[1:] == pytest.approx([40, 40, 3])


def test_the_radius_is_in_units_of_1_over_255(record, curve):
    figure = figures.robustness([record("a", curves=(curve(100, [90, 50, 20]),))])
    line = named(figure)["a, pgd-7/bptt"]
    assert list(line.x) == pytest.approx([0, 2, 4])
    assert list(line.y) == pytest.approx([90, 50, 20])
    upper, lower = figure.data[0], figure.data[1]
    for i, hits in enumerate((90, 50, 20)):
        assert upper.y[i] == pytest.approx(100 * Interval.of(hits, 100).high)
        assert lower.y[i] == pytest.approx(100 * Interval.of(hits, 100).low)


def test_images_in_0_to_255_need_no_scaling_twice(record, curve):
    bytes_ = {"kind": "linf", "eps": 8.0, "low": 0.0, "high": 255.0}
    raw = dataclasses.replace(curve(100, [90, 50]), eps=(0.0, 8.0))
    figure = figures.robustness([record("a", threat=bytes_, curves=(raw,))])
    assert list(named(figure)["a, pgd-7/bptt"].x) == pytest.approx([0, 8])


def test_other_norms_have_a_figure_of_their_own(record, curve):
    records = [
        record("a", curves=(curve(100, [9, 5]),)),
        record("b", curves=(curve(100, [9, 5]),), threat={"kind": "l2", "eps": 0.5}),
    ]
    assert len(named(figures.robustness(records))) == len(named(figures.robustness(records, kind="l2"))) == 1
    line = next(iter(named(figures.robustness(records, kind="l2")).values()))
    assert list(line.x) == pytest.approx([0, 2 / 255])
    assert line.line.color == figures.colour(1)


def test_a_record_has_one_colour_in_every_figure(page):
    makers = [figures.attacks, figures.robustness]
    shown = [m(page) for m in makers] + [*figures.membranes(page).values(), *figures.training(page).values()]
    for index, record in enumerate(page):
        colours = {
            t.marker.color if t.type == "bar" else t.line.color
            for figure in shown
            for t in figure.data
            if t.name and t.name.split(",")[0] == record.name
        }
        assert colours == {figures.colour(index)}
    assert len({figures.colour(i) for i in range(8)}) == 8


def test_a_colour_does_not_move_when_a_record_has_nothing_to_draw(record, membrane):
    figure = figures.membranes([record("a"), record("b", membranes=(membrane("conv1"),))])["conv1"]
    assert named(figure)["b"].line.color == figures.colour(1)


def test_a_histogram_has_area_one_and_its_gaussian_the_right_peak(record, membrane):
    one = membrane("conv1", mean=-0.5, std=0.8)
    figure = figures.membranes([record("a", membranes=(one,))])["conv1"]
    bars, bell = figure.data
    assert sum(bars.y) * 0.1 == pytest.approx(1)
    assert max(bell.y) == pytest.approx(1 / (0.8 * math.sqrt(2 * math.pi)), rel=1e-3)
    assert bell.x[bell.y.index(max(bell.y))] == pytest.approx(-0.5, abs=0.05)


def test_the_window_is_shaded_and_the_threshold_drawn(record, membrane):
    figure = figures.membranes([record("a", membranes=(membrane("conv1"),)), record("b", membranes=(membrane("conv1"),))])
    assert [(s.type, s.x0, s.x1) for s in figure["conv1"].layout.shapes] == [("rect", -1.0, 1.0), ("line", 0, 0)]


def test_one_figure_per_layer_in_order_with_the_records_laid_over_each_other(page):
    shown = figures.membranes(page)
    assert list(shown) == ["conv1", "conv2", "conv3", "conv4"]
    assert list(named(shown["conv1"])) == [r.name for r in page]


def test_membranes_without_spread_window_or_counts_do_not_crash(record, membrane):
    one = membrane("conv1")
    flat = dataclasses.replace(one, std=0.0, window=math.inf)
    assert len(figures.membranes([record("a", membranes=(flat,))])["conv1"].data) == 1
    broken = dataclasses.replace(one, mean=math.nan, std=math.nan)
    assert len(figures.membranes([record("a", membranes=(broken,))])["conv1"].data) == 1
    for empty in (dataclasses.replace(one, counts=(0,) * 60), dataclasses.replace(one, edges=(), counts=())):
        assert figures.membranes([record("a", membranes=(empty,))]) == {}


def test_training_draws_what_was_logged(record, epochs):
    shown = figures.training([record("a", epochs=epochs(8))])
    assert list(named(shown["Training loss"])["a"].y) == pytest.approx([2.3 / (i + 1) for i in range(8)])
    accuracy = named(shown["Accuracy"])
    assert accuracy["a, validation"].y[1] == pytest.approx(55)
    assert accuracy["a, train"].y[1] == pytest.approx(60)
    assert named(shown["Firing rate, mean over layers"])["a"].y[7] == pytest.approx((0.2 + 0.17) / 2)
    assert named(shown["Penalty mpd-sgr"])["a"].y[0] == pytest.approx(0.4)


def test_training_tolerates_gaps_and_missing_keys(record):
    lines = ({"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": math.nan}, {"epoch": 3}, {"loss": "nan", "epoch": 4})
    shown = figures.training([record("a", epochs=lines), record("b")])
    assert list(shown) == ["Training loss"]
    assert list(shown["Training loss"].data[0].x) == [1, 2, 3, 4]
    assert list(shown["Training loss"].data[0].y) == [2.0, None, None, None]
    assert figures.training([record("a", epochs=({},))]) == {}
    assert list(figures.training([record("a", epochs=({"loss": 1},))])["Training loss"].data[0].x) == [0]


def test_names_are_escaped_and_not_a_number_never_reaches_the_json(record, curve, membrane, epochs):
    nasty = '<a href="https://example.org">x</a>'
    empty = record(
        nasty,
        0,
        0,
        {f"{nasty}/bptt": 0},
        curves=(curve(0, [0, 0], nasty),),
        membranes=(membrane(nasty),),
        epochs=epochs(2),
    )
    shown = [figures.attacks([empty]), figures.robustness([empty])]
    shown += [*figures.membranes([empty]).values(), *figures.training([empty]).values()]
    for figure in shown:
        text = figure.to_json()
        assert "<a href" not in text
        json.loads(text, parse_constant=lambda c: pytest.fail(c))


def test_no_records_make_empty_figures():
    assert len(figures.attacks([]).data) == len(figures.robustness([]).data) == 0
    assert figures.membranes([]) == figures.training([]) == {}
