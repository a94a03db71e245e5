"""The table in LaTeX. No LaTeX is run: its braces, commands and cells are counted."""

import re

import pytest

from snnguard.report.latex import escaped, latex

NASTY = r"\input{/etc/passwd} a_b 50% x&y #1 $z$ ^~<>|" + '"'


def body(text):
    return text.partition(r"\midrule")[2].partition(r"\bottomrule")[0].strip().splitlines()


def test_every_row_has_every_cell_with_its_interval(record, attack, loose):
    records = [
        record("a", 90, 100, [attack("fgsm/bptt", 40, 100), loose("cw", 3, 100)]),
        record("b", 80, 100, [attack("pgd-7/bptt", 30, 100)]),
    ]
    text = latex(records, label="tab:x")
    assert r"\begin{tabular}{lrrrrr}" in text
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 1
    rows = body(text)
    assert [row.count(" & ") for row in rows] == [5, 5]
    assert all(row.endswith(r" \\") for row in rows)
    assert r"40.0{\tiny\,$\pm$9.8}" in rows[0]
    assert rows[1].split(" & ")[2] == "--"
    assert r"\label{tab:x}" in text
    caption = re.search(r"\\caption\{(.*)\}", text)
    assert "100 images; L$\\infty$ $\\le$ 8/255." in caption[1]
    assert "covers the 95 \\% Wilson interval" in caption[1]
    assert "not part of the worst case: cw." in caption[1]


def test_marks_and_suspicions_are_there(page):
    text = latex(page)
    row = next(row for row in body(text) if row.strip().startswith("tgo"))
    assert row.strip().startswith(r"tgo\textsuperscript{\dag{}1} & ")
    assert row.count(r"\textsuperscript{\dag{}1}") == 4
    assert r"\dag{}1 one-step-gap: tgo: pgd-7/bptt leaves 80 of 1,000 images" in text


def test_what_users_wrote_is_no_command(record, attack, suspicion):
    evil = record(NASTY, 90, 100, [attack(f"{NASTY}/bptt", 5, 100)], suspicions=(suspicion(NASTY, NASTY),))
    text = latex([evil])
    assert r"\input" not in text
    assert text.count(r"\textbackslash{}input\{/etc/passwd\} a\_b 50\% x\&y \#1 \$z\$ ") == 4
    for line in text.splitlines()[1:]:
        bare = re.sub(r"\\[{}%&#_$]", "", line)
        assert bare.count("{") == bare.count("}")
        assert "%" not in bare
        assert "#" not in bare
        assert "_" not in bare
        assert bare.count("$") % 2 == 0


@pytest.mark.parametrize(("text", "expected"), [("−3 ± 1", "$-$3 $\\pm$ 1"), ("é", "é"), ("日", "?"), ("a\u202eb", "a?b")])
def test_signs_that_latex_lacks(text, expected):
    assert escaped(text) == expected


def test_no_records_make_an_empty_table():
    assert "No records." in latex([])
