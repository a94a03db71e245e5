"""Two records side by side, against `paired` and by hand."""

from dataclasses import replace

from snnguard.paired import paired
from snnguard.record import Flags
from snnguard.report.pairs import pairs


def test_every_two_records_have_a_row_for_what_they_share(record):
    records = [
        record("a", 90, 100, {"fgsm/bptt": 40, "pgd-7/bptt": 30}),
        record("b", 85, 100, {"fgsm/bptt": 50, "pgd-7/bptt": 45}),
        record("c", 85, 100, {"fgsm/bptt": 50}),
    ]
    found = pairs(records)
    assert list(found) == ["0-1", "0-2", "1-2"]
    assert [row["label"] for row in found["0-1"]["rows"]] == ["clean", "worst case", "fgsm/bptt", "pgd-7/bptt"]
    assert [row["label"] for row in found["0-2"]["rows"]] == ["clean", "fgsm/bptt"]  # the worst cases are over other attacks
    row = found["0-1"]["rows"][3]
    assert (row["only_one"], row["only_other"], row["difference"]) == (0, 15, 15)
    low, high = paired(records[0], records[1], attack="pgd-7/bptt").interval
    assert (row["low"], row["high"]) == (round(100 * low, 3), round(100 * high, 3))
    assert row["low"] < 15 < row["high"]
    assert row["p"] == float(f"{2 * 0.5**15:.3g}")


def test_the_pairing_is_by_image_and_not_by_count(record):
    one, other = record("a", 4, 4), record("b", 4, 4)
    one = replace(one, clean=Flags((True, True, False, False)))
    other = replace(other, clean=Flags((False, True, True, False)))
    (row,) = pairs([one, other])["0-1"]["rows"]
    assert (row["only_one"], row["only_other"], row["difference"], row["p"]) == (1, 1, 0, 1)


def test_other_images_or_threats_are_refused_in_words(record):
    base = record("a", 90, 100, {"fgsm/bptt": 40})
    fewer = record("b", 45, 50, {"fgsm/bptt": 20})
    wider = record("c", 90, 100, {"fgsm/bptt": 40}, threat={"kind": "l2", "eps": 0.5})
    found = pairs([base, fewer, wider])
    assert "a and b were not judged on the same images" in found["0-1"]["refused"]
    assert "judged under other threats" in found["0-2"]["refused"]
    assert all(pair["rows"] == [] for pair in found.values())


def test_unbounded_attacks_alone_make_no_worst_case(record, loose):
    records = [record(name, 90, 100, [loose("cw", 3, 100)]) for name in "ab"]
    assert [row["label"] for row in pairs(records)["0-1"]["rows"]] == ["clean", "cw"]
