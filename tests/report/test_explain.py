import re
from dataclasses import replace

from snnguard.record import Interval
from snnguard.report import comparable, overlap, sentences, warning


def test_intervals_that_do_not_overlap_make_a_winner(record):
    text = sentences([record("undefended", 950, 1000, {"pgd-7/bptt": 20}), record("at", 900, 1000, {"pgd-7/bptt": 500})])
    assert text.startswith("at keeps the most images right")
    assert "50.0 % (95 % interval 46.9 to 53.1)" in text
    assert "next: undefended, 2.0 %" in text
    assert "overlaps" not in text
    assert "no gain" not in text


def test_overlapping_intervals_make_none(record):
    text = sentences([record("undefended", 950, 1000, {"pgd-7/bptt": 490}), record("at", 900, 1000, {"pgd-7/bptt": 500})])
    assert "overlaps with that of every other record: the data do not separate them" in text
    assert "no gain over undefended that the intervals could show: at" in text


def test_the_same_shares_separate_with_more_images(record):
    def text(total):
        return sentences(
            [record(n, total, total, {"pgd-7/bptt": int(total * s)}) for n, s in (("undefended", 0.4), ("at", 0.5))]
        )

    assert "do not separate" in text(100)
    assert "do not separate" not in text(2000)


def test_only_those_that_overlap_with_the_best_are_named(record):
    hits = {"undefended": 20, "a": 480, "b": 500}
    text = sentences([record(n, 950, 1000, {"pgd-7/bptt": h}) for n, h in hits.items()])
    assert "b keeps the most" in text
    assert "overlaps with that of a: the data do not separate these" in text


def test_the_cost_in_clean_accuracy(record):
    hits = (("undefended", 950), ("a", 945), ("b", 800))
    text = sentences([record(n, h, 1000, {"pgd-7/bptt": 10}) for n, h in hits])
    assert "a −0.5 (intervals overlap), b −15.0." in text


def test_without_a_baseline_no_cost_is_claimed(record):
    text = sentences([record("a", 950, 1000, {"pgd-7/bptt": 10}), record("b", 800, 1000, {"pgd-7/bptt": 10})])
    assert "On clean images: a 95.0 %" in text
    assert "in points against" not in text


def test_a_defense_below_the_baseline_is_said_to_be(record):
    text = sentences([record("undefended", 950, 1000, {"pgd-7/bptt": 300}), record("a", 950, 1000, {"pgd-7/bptt": 100})])
    assert text.startswith("undefended keeps the most")
    assert "below undefended: a" in text


def test_a_good_fgsm_and_a_bad_worst_case_are_a_warning(record):
    masked = record("a", 950, 1000, {"fgsm/bptt": 700, "pgd-7/bptt": 50})
    assert "FGSM alone flatters a (70.0 % against 5.0 % in the worst case)" in warning([masked])
    assert "masked gradients" in warning([masked])
    for fgsm, pgd in ((700, 600), (60, 5), (700, 400)):
        assert not warning([record("a", 950, 1000, {"fgsm/bptt": fgsm, "pgd-7/bptt": pgd})])


def test_another_rule_that_breaks_what_fgsm_through_bptt_could_not_is_a_warning(record):
    assert "flatters a" in warning([record("a", 950, 1000, {"fgsm/bptt": 700, "fgsm/rate": 40})])


def test_an_unbounded_attack_is_no_reason_for_a_warning(record, attack, loose):
    judged = record("a", 950, 1000, [attack("fgsm/bptt", 700, 1000), loose("cw", 0, 1000)])
    assert not warning([judged])
    assert "70.0 %" in sentences([judged])


def test_suspicions_are_mentioned(record, suspicion):
    assert "before quoting a" in warning([record("a", attacks={"fgsm/bptt": 9}, suspicions=(suspicion(),))])


def test_no_better_than_guessing(record):
    assert "10.0 % of guessing" in sentences([record("a", 950, 1000, {"pgd-7/bptt": 90})])
    assert "guessing" not in sentences([record("a", 950, 1000, {"pgd-7/bptt": 500})])


def test_what_cannot_be_compared_is_not_ranked(record):
    here, there = (
        record("undefended", attacks={"fgsm/bptt": 10}),
        record("at", attacks={"fgsm/bptt": 90}, threat={"kind": "linf", "eps": 2 / 255}),
    )
    assert not comparable([here, there])
    text = sentences([here, there])
    assert "not ranked" in text
    assert not re.search("keeps the most|no gain|in points", text)


def test_nothing_to_say(record, loose):
    assert sentences([]) == "There are no records to explain."
    assert "no images were judged" in sentences([record("a", 0, 0)])
    assert "nothing about robustness" in sentences([record("a", attacks=[loose("gaussian", 80, 100)])])
    text = sentences([record("undefended", 0, 0), record("b", attacks={"fgsm/bptt": 9})])
    assert "undefended: no images" in text
    assert "b still classifies" in text
    assert "nan" not in text


def test_a_baseline_that_was_not_attacked_is_not_compared_in_the_worst_case(record):
    text = sentences([record("undefended"), record("b", attacks={"fgsm/bptt": 94})])
    assert "no gain" not in text
    assert "b still classifies" in text


def test_at_most_two_sentences(page):
    assert len(re.findall(r"[a-z)]\.(?= |$)", sentences(page))) <= 2


def test_overlap_is_symmetric_and_includes_touching():
    def interval(low, high):
        return Interval(point=low, low=low, high=high)

    assert overlap(interval(0.1, 0.2), interval(0.2, 0.3))
    assert overlap(interval(0.1, 0.9), interval(0.2, 0.3))
    assert not overlap(interval(0.25, 0.3), interval(0.1, 0.2))
    assert not overlap(interval(0.1, 0.2), interval(0.25, 0.3))


def test_of_many_records_the_sentences_name_the_extremes(record):
    records = [record("undefended", 900, 1000, {"pgd/bptt": 100})]
    records += [record(f"d{i}", 850 - 10 * i, 1000, {"pgd/bptt": 200 + 40 * i}) for i in range(8)]
    text = sentences(records)
    assert "in points against it: from −12.0 (d7) to −5.0 (d0)." in text
    other = [replace(r, suite="another") if i == 3 else r for i, r in enumerate(records)]
    text = sentences(other)
    assert "worst case: from 10.0 % (8.3 to 12.0) of undefended to 48.0 % (44.9 to 51.1) of d7." in text
    assert "On clean images: from 78.0 % (75.3 to 80.5) of d7 to 90.0 % (88.0 to 91.7) of undefended." in text


def test_names_with_commas_are_kept_apart(record):
    records = [record(n, 900, 1000, {"pgd/bptt": 100}) for n in ("undefended", "MPD-SGR, eta 1", "TGO, lambda 2", "AT")]
    text = sentences(records)
    assert "could show: MPD-SGR, eta 1; TGO, lambda 2 and AT." in text
    assert "against it: MPD-SGR, eta 1 +0.0 (intervals overlap); TGO, lambda 2 +0.0" in text
