"""Reports from records alone: a table for the screen and the README, figures, sentences and one self-contained page.

from snnguard import report

report.write(records, Path("report.html"))      # the page
rich.print(report.console(records))             # the table on the screen
report.markdown(records)                        # the table of the README
report.sentences(records)                       # what it means, in words
report.print.export(records, Path("paper"))     # table.tex, figures as .svg and .png (import snnguard.report.print)
report.write_analysis(findings, Path("analysis.html"))  # another page, from the findings of an analysis
"""

from . import figures
from .courses import Course, courses
from .explain import comparable, overlap, sentences, warning
from .findings_facts import facts
from .findings_page import analysis_page, write_analysis
from .page import render, write
from .table import Cell, Column, Note, Row, Table, console, markdown, names, rows, threat_text

__all__ = [
    "Cell",
    "Column",
    "Course",
    "Note",
    "Row",
    "Table",
    "analysis_page",
    "comparable",
    "console",
    "courses",
    "facts",
    "figures",
    "markdown",
    "names",
    "overlap",
    "render",
    "rows",
    "sentences",
    "threat_text",
    "warning",
    "write",
    "write_analysis",
]
