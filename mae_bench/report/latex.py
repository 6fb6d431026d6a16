"""The leaderboard's tables in LaTeX, with booktabs, to be put into a paper by \\input."""

from mae_bench.report.document import Document
from mae_bench.report.table import Cell, Kind, Table
from mae_bench.report.tables import NOTE, difference_tables, main_tables, twin_table

HEAD = """% Made by {command}
% Needs \\usepackage{{booktabs,graphicx,xcolor}} and, before TeX Live 2018,
% \\usepackage[utf8]{{inputenc}}; letters beyond Latin ones need XeLaTeX or LuaLaTeX.
"""
FITTING = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
"""Makes what is wider than the text as wide as it."""
ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"\textperiodcentered{}",
    "…": r"\ldots{}",
    "\u00a0": "~",
}


def latex(document: Document) -> str:
    """Return the tables: the main ones, differences to the baselines, and to published numbers."""
    suite = document["suite"]
    parts = [HEAD.format(command=document["command"])]
    for title, table in main_tables(document).items():
        on = f" on {title}" if title else ""
        caption = f"Leaderboard of the suite {suite}{on}. {document['caution']}".strip()
        parts.append(_table(table, caption, f"{suite}{title}"))
    for baseline, table in difference_tables(document).items():
        caption = f"Suite {suite}: difference to the {baseline} row of the same architecture."
        parts.append(_table(table, caption, f"{suite}-less-{baseline}"))
    twins = twin_table(document)
    if twins is not None:
        caption = f"Suite {suite}: our numbers beside the published ones."
        parts.append(_table(_without_notes(twins), caption, f"{suite}-published"))
    return "\n".join(parts)


def escaped_latex(text: str) -> str:
    """Return text that LaTeX sets as it is, on one line."""
    shown = "".join(ESCAPES.get(letter, letter) for letter in " ".join(text.split(" ")))
    return "".join(letter if letter.isprintable() else " " for letter in shown)


def _without_notes(table: Table) -> Table:
    """Return the table without its column of notes, which is too long for a page."""
    place = table.headings.index(NOTE)
    lines = tuple((*line[:place], *line[place + 1 :]) for line in table.lines)
    headings = (*table.headings[:place], *table.headings[place + 1 :])
    return Table(headings, lines, table.align[:place] + table.align[place + 1 :], table.kinds)


def _table(table: Table, caption: str, label: str) -> str:
    """Return a floating table."""
    name = "".join(letter if letter.isalnum() else "-" for letter in label.lower())
    lines = [_line(line, table.kind(place), table) for place, line in enumerate(table.lines)]
    head = " & ".join(escaped_latex(one) for one in table.headings)
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            r"\footnotesize",
            rf"\caption{{{escaped_latex(caption)}}}",
            rf"\label{{tab:{name}}}",
            FITTING,
            rf"\begin{{tabular}}{{{table.align}}}",
            r"\toprule",
            rf"{head} \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
            "",
        ]
    )


def _line(line: tuple[Cell, ...], kind: Kind, table: Table) -> str:
    """Return one line; others' are grey, and a heading stands across all columns under a rule."""
    if kind == "heading":
        text = escaped_latex(line[0].text)
        return rf"\midrule \multicolumn{{{len(table.headings)}}}{{l}}{{\emph{{{text}}}}} \\"
    return " & ".join(_cell(cell, kind) for cell in line) + r" \\"


def _cell(cell: Cell, kind: Kind) -> str:
    """Return a cell: the best bold, others' grey, what is small behind it."""
    text = escaped_latex(cell.text)
    if cell.small:
        text = f"{text} {{\\scriptsize {escaped_latex(cell.small)}}}"
    if cell.best:
        text = rf"\textbf{{{text}}}"
    return rf"\textcolor{{gray}}{{{text}}}" if text and kind != "ours" else text
