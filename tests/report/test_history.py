"""What the epoch slider shows."""

import itertools
import json
import math
from dataclasses import replace

from snnguard.record import LOGGED_EDGES
from snnguard.report import figures
from snnguard.report.history import HIGHEST, MOST_EPOCHS, history, thinned


def test_the_stops_are_the_epochs_and_then_the_judged_network(page):
    found = history(page)
    assert found["stops"] == [*range(8), None]
    assert found["edges"] == LOGGED_EDGES
    assert [layer["name"] for layer in found["layers"]] == ["conv1", "conv2", "conv3", "conv4"]
    line = found["layers"][0]["lines"][2]
    assert (line["name"], [entry["epoch"] for entry in line["logged"]]) == ("tgo", list(range(8)))
    assert line["logged"][3]["counts"].index(1000) == 13
    assert line["logged"][3]["mean"] == -1.4
    assert line["judged"]["mean"] == page[2].membranes[0].mean


def test_without_histograms_only_the_judged_network_is_left(page):
    found = history([replace(r, epochs=({"epoch": 1, "rate.conv1": 0.1},)) for r in page])
    assert found["stops"] == [None]
    assert [line["logged"] for layer in found["layers"] for line in layer["lines"]] == [[]] * 20
    assert history([replace(r, membranes=()) for r in page])["layers"] == []


def test_a_long_training_is_thinned_out_with_its_first_and_last_epoch(record, membrane, epochs, logged):
    long = record("a", membranes=(membrane("conv1"),), epochs=logged(epochs(200), "conv1"))
    stops = history([long])["stops"][:-1]
    assert (len(stops), stops[0], stops[-1]) == (MOST_EPOCHS, 0, 199)
    assert {b - a for a, b in itertools.pairwise(stops)} <= {6, 7}
    other = replace(long, name="b", epochs=logged(epochs(150), "conv1"))
    assert len(history([long, other])["stops"]) <= MOST_EPOCHS + 1


def test_thinning_keeps_few_values_and_of_many_both_ends():
    assert thinned([3, 5, 9], most=3) == [3, 5, 9]
    assert thinned(list(range(101)), most=5) == [0, 25, 50, 75, 100]
    assert thinned([]) == []


def test_what_is_damaged_is_left_out(record, membrane, epochs, logged):
    lines = [dict(line) for line in logged(epochs(5), "conv1")]
    lines[0]["histogram.conv1"] = [1000]
    lines[1]["histogram.conv1"] = ["many"] * 40
    lines[2]["mean.conv1"] = math.nan
    del lines[3]["std.conv1"]
    flat = replace(membrane("conv1"), mean=math.nan)
    found = history([record("a", membranes=(flat,), epochs=tuple(lines))])
    line = found["layers"][0]["lines"][0]
    assert [entry["epoch"] for entry in line["logged"]] == [4]
    assert line["judged"]["mean"] is None
    json.dumps(found, allow_nan=False)


def test_the_axis_reaches_the_highest_histogram_but_not_far_above_the_judged_one(record, membrane, epochs, logged):
    shown = record("a", membranes=(membrane("conv1"),))
    judged = figures.membranes([shown])["conv1"].layout.yaxis.range[1]
    spiked = replace(shown, epochs=logged(epochs(3), "conv1"))  # all in one bin of 0.2: a density of five
    assert judged * HIGHEST < 5
    assert history([spiked])["layers"][0]["figure"]["layout"]["yaxis"]["range"] == [0, judged * HIGHEST]
    assert history([shown])["layers"][0]["figure"]["layout"]["yaxis"]["range"] == [0, judged]
