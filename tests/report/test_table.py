import math
import re

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from snnguard.record import Interval
from snnguard.report import console, markdown, names, rows, threat_text
from snnguard.report.table import Cell


def shown(records, width=100):
    screen = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    with screen.file:
        screen.print(console(records))
        return screen.export_text()


def test_every_accuracy_is_its_hits_over_its_total(page):
    table = rows(page)
    for record, row in zip(page, table.rows, strict=True):
        assert row.clean.interval.point == sum(record.clean.values) / 1000
        assert len(row.attacks) == len(record.attacks) == 17
        for column, cell in zip(table.columns, row.attacks, strict=True):
            result = record.find(column.name)
            assert cell.interval.point == sum(result.correct.values) / 1000
            assert cell.interval.low < cell.interval.point < cell.interval.high or cell.hits == 0


def test_a_cell_says_percent_and_wilson_bounds(record):
    # Wilson at 50 of 100 with z = 1.96: 0.5 +- 0.0962
    assert str(rows([record("a", 50, 100)]).rows[0].clean) == "50.0 % (40.4 to 59.6)"


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_short_form_never_promises_more_than_the_interval(counts):
    cell = Cell(hits=counts[0], total=counts[1])
    width, exact = float(cell.brief[1][1:]) / 100, Interval.of(*counts)
    assert exact.point - width <= exact.low + 1e-9
    assert exact.point + width >= exact.high - 1e-9


def test_the_worst_case_leaves_out_unbounded_attacks(record, attack, loose):
    row = rows([record("a", 90, 100, [attack("fgsm/bptt", 40, 100), loose("cw", 3, 100)])]).rows[0]
    assert (row.worst.hits, row.worst.total) == (40, 100)


def test_unbounded_attacks_stand_behind_the_worst_case(record, attack, loose):
    records = [record("a", 90, 100, [loose("cw", 3, 100), attack("fgsm/bptt", 40, 100)])]
    table = rows(records)
    assert [(c.name, c.bounded) for c in table.columns] == [("fgsm/bptt", True), ("cw", False)]
    assert [c.hits for c in table.cells(table.rows[0])] == [90, 40, 40, 3]
    heading = markdown(records).splitlines()[0]
    assert heading.index("fgsm") < heading.index("worst case") < heading.index("cw")
    assert "not part of the worst case: cw." in markdown(records)


def test_without_an_attack_inside_the_threat_there_is_no_worst_case(record, loose):
    assert rows([record("a", 90, 100, [loose("gaussian", 80, 100)])]).rows[0].worst is None


def test_the_condensed_form_takes_the_strongest_rule_of_each_record_and_says_so(record):
    records = [
        record("a", attacks={"fgsm/bptt": 40, "fgsm/rate": 30}),
        record("b", attacks={"fgsm/bptt": 10, "fgsm/rate": 20}),
    ]
    table = rows(records, condensed=True)
    assert [c.name for c in table.columns] == ["fgsm"]
    assert [(r.attacks[0].hits, r.attacks[0].source) for r in table.rows] == [(30, "fgsm/rate"), (10, "fgsm/bptt")]
    assert "strongest per attack and row" in markdown(records)
    assert "strongest" not in markdown([record("c", attacks={"fgsm/bptt": 40})])


def test_an_attack_that_was_not_run_is_a_dash(record):
    table = rows([record("a", attacks={"fgsm/bptt": 4}), record("b", attacks={"pgd-7/bptt": 3})])
    assert [c.name for c in table.columns] == ["fgsm/bptt", "pgd-7/bptt"]
    assert table.rows[0].attacks[1] is None
    assert table.rows[1].attacks[0] is None


def test_a_suspicion_marks_row_worst_case_and_the_attacks_that_it_names(record, suspicion):
    hits = {"pgd-1/bptt": 9, "pgd-10/bptt": 8, "fgsm/bptt": 7}
    suspect = record("a", attacks=hits, suspicions=(suspicion("zero", "pgd-10/bptt has no gradient"),))
    honest = record("b", attacks=hits)
    table = rows([suspect, honest])
    assert table.rows[0].marks == table.rows[0].worst.marks == ("†1",)
    assert [c.marks for c in table.rows[0].attacks] == [(), ("†1",), ()]
    assert not any([table.rows[1].marks, table.rows[1].worst.marks, *(c.marks for c in table.rows[1].attacks)])
    assert [(n.mark, n.code, n.messages) for n in table.notes] == [("†1", "zero", (("a", "pgd-10/bptt has no gradient"),))]
    for text in (markdown([suspect, honest]), shown([suspect, honest])):
        assert "a †1" in text
        assert "pgd-10/bptt has no gradient" in text


def test_one_mark_per_code(record, suspicion):
    both = (suspicion("zero", "x"), suspicion("random", "y"))
    table = rows([record("a", suspicions=both), record("b", suspicions=both[1:])])
    assert [r.marks for r in table.rows] == [("†1", "†2"), ("†2",)]
    assert table.notes[1].messages == (("a", "y"), ("b", "y"))


def test_the_console_table_fits_and_loses_no_word(page):
    for width in (100, 120):
        text = shown(page, width)
        assert max(map(len, text.splitlines())) <= width
        for word in ("undefended", "mpd-sgr", "gaussian", "strongest", "Worst case:", "one-step-gap", "57.7", "±3.1"):
            assert word in text
        assert "…" not in text


def test_markdown_has_one_line_per_record_and_as_many_cells_as_headings(page):
    lines = [line for line in markdown(page).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(page)
    assert {len(line.strip("|").split("|")) for line in lines} == {13}
    assert lines[2].startswith("| undefended | 97.0 ±")


def test_names_from_users_cannot_break_the_table(record):
    nasty = "a|b <script> [x](y) `c` *d*\n| new row | \x1b[31m\u202e [bold]"
    text = markdown([record(nasty)])
    assert len([line for line in text.splitlines() if line.startswith("|")]) == 3
    assert not re.search(r"(?<!\\)[<\[`]", text.splitlines()[2])
    assert len(re.findall(r"(?<!\\)\|", text.splitlines()[2])) == 4  # three cells
    screen = shown([record(nasty)], 200)
    assert "\x1b" not in screen
    assert "\u202e" not in screen
    assert "[bold]" in screen


def test_equal_names_are_told_apart_and_threats_named_where_they_differ(record):
    assert names([record("a"), record("a"), record("b")]) == ("a", "a #2", "b")
    other = record("a", threat={"kind": "l2", "eps": 0.5})
    assert names([record("a"), other]) == ("a (L∞ ≤ 8/255)", "a (L2 ≤ 0.5)")
    assert names([record("\n")]) == ("unnamed",)


def test_threats_in_words():
    assert threat_text({"kind": "linf", "eps": 8 / 255, "low": 0.0, "high": 1.0}) == "L∞ ≤ 8/255"
    assert threat_text({"kind": "linf", "eps": 8.0, "low": 0, "high": 255}) == "L∞ ≤ 8"
    assert threat_text({}) == "?"


def test_nothing_and_no_samples_do_not_crash(record):
    assert rows([]).rows == ()
    assert markdown([]).startswith("| accuracy in %")
    shown([])
    empty = record("a", 0, 0, {"fgsm/bptt": 0})
    assert math.isnan(rows([empty]).rows[0].clean.interval.point)
    assert str(rows([empty]).rows[0].clean) == "–"
    assert "nan" not in markdown([empty]) + shown([empty])
