"""The table of a report in LaTeX, for papers: booktabs, every number with its interval, and a caption that says what counts."""

import re
from collections.abc import Sequence

from snnguard.record import Record

from .table import WHISKER, Cell, headings, rows

SIGNS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    '"': "''", "±": r"$\pm$", "∞": r"$\infty$", "≤": r"$\le$", "≥": r"$\ge$", "−": r"$-$", "×": r"$\times$",
    "·": r"$\cdot$", "†": r"\dag{}", "–": "--", "—": "---", "→": r"$\to$", "…": r"\dots{}",
    "‘": "`", "’": "'", "“": "``", "”": "''",
}  # fmt: skip
"""What LaTeX would take for a command, or has no letter for in its usual fonts."""


def latex(records: Sequence[Record], *, label: str = "tab:robustness") -> str:
    """The condensed table as a `table*` float; it needs `\\usepackage{booktabs}` and `\\usepackage{textcomp}`.

    Accuracies in percent with the longer side of their interval; suspicions stand below the table by their marks.
    """
    table = rows(records, condensed=True)
    heads = [escaped(heading) for heading in headings(table)]
    lines = [
        r"% \usepackage{booktabs} \usepackage{textcomp}",
        r"\begin{table*}",
        r"  \centering\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"  \caption{{Accuracy in \%. {escaped(' '.join([*table.caption, WHISKER]))}}}",
        rf"  \label{{{label}}}",
        rf"  \begin{{tabular}}{{l{'r' * len(heads)}}}",
        r"    \toprule",
        f"    {_line(['', *heads])}",
        r"    \midrule",
        *(f"    {_line([_named(row.name, row.marks), *map(_number, table.cells(row))])}" for row in table.rows),
        r"    \bottomrule",
        r"  \end{tabular}",
    ]
    notes = [f"{note.mark} {note.code}: {name}: {message}" for note in table.notes for name, message in note.messages]
    if notes:
        lines += [r"  \par\smallskip\footnotesize\raggedright", *(rf"  {escaped(note)}\par" for note in notes)]
    return "\n".join([*lines, r"\end{table*}", ""])


def escaped(text: str) -> str:
    """Text that LaTeX prints as it is; letters beyond Latin-1 that have no name here become `?`."""
    known = "".join(SIGNS.get(sign, sign) for sign in text)
    return re.sub(r"[^\x20-\x7e\xa1-\xff]", "?", known)


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _named(name: str, marks: Sequence[str]) -> str:
    return escaped(name) + _marked(marks)


def _number(cell: Cell | None) -> str:
    if cell is None or not cell.total:
        return "--"
    point, width = cell.brief
    return rf"{point}{{\tiny\,{escaped(width)}}}{_marked(cell.marks)}"


def _marked(marks: Sequence[str]) -> str:
    return rf"\textsuperscript{{{escaped(','.join(marks))}}}" if marks else ""
