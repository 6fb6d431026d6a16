"""The leaderboard as Markdown for GitHub: a suite's own file, and the front page of all suites."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mae_bench.report.document import Document
from mae_bench.report.efficiency import EXPLANATION as OF_COSTS
from mae_bench.report.flawed import flaw_texts
from mae_bench.report.table import Table, escaped, markdown
from mae_bench.report.tables import (
    agreement_table,
    cost_table,
    difference_tables,
    job_table,
    main_tables,
    own_tables,
    twin_table,
)

OF_TWINS = (
    "Within noise: the two differ by no more than other seeds would make them, 95 % of the time, "
    "and by how far the published one was rounded. No verdict where no spread over seeds is known "
    "or where ours did not run as published. The source's other numbers, and those of others, "
    "stand behind it."
)
OF_DIFFERENCES = "Bold: told apart at 5 %, corrected for being so many (Holm, over the table)."
OF_AGREEMENT = "Over the rows that both have; a column of another tier has the tier behind it."
MARK = "<!-- Made by mae-bench; it is written again with every report. -->"
"""First line of the front page: a file without it is somebody's own."""


def leaderboard_text(document: Document) -> str:
    """Return the whole leaderboard.md."""
    lines = [f"# Leaderboard of the suite `{document['suite']}`", ""]
    lines += _caution(document)
    lines += _tables(main_tables(document))
    lines += [document["explanation"], ""]
    lines += [*(f"- {escaped(note)}" for note in document["notes"]), ""]
    lines += _section("Beside the published numbers", twin_table(document), OF_TWINS)
    for baseline, table in difference_tables(document).items():
        title = f"Less the {baseline} row of the same architecture"
        lines += _section(title, table, OF_DIFFERENCES)
    lines += _section("What each number costs to reach", cost_table(document), OF_COSTS)
    title = "How alike columns rank the encoders"
    lines += _section(title, agreement_table(document), OF_AGREEMENT)
    lines += _figures(document["figures"])
    lines += _flaws(document["rows"])
    lines += _deviations(document["rows"])
    lines += _section("Where each number comes from", job_table(document), "")
    lines += [
        f"Made by `{document['command']}`; all single numbers are in [long.csv](long.csv).",
        "",
    ]
    return "\n".join(lines)


def front_page(parts: Iterable[str]) -> str:
    """Return the page of all suites, given each one's part."""
    legend = "Bold: the best of a column, with all that cannot be told from it."
    return "\n".join([MARK, "# Leaderboards", "", *parts, legend, ""])


def front_part(folder: str, document: Document) -> str:
    """Return a suite's part of the front page; its files lie in the folder beside that page."""
    lines = [f"## {escaped(document['suite'])}", "", *_caution(document)]
    lines += _tables(own_tables(document))
    others = sum(row["kind"] != "ours" for row in document["rows"])
    beside = f", with {others} rows of published and imported numbers" if others else ""
    lines += [
        f"[The whole leaderboard]({folder}/leaderboard.md){beside} · "
        f"[the page]({folder}/index.html) · [CSV]({folder}/leaderboard.csv) · "
        f"[JSON]({folder}/leaderboard.json) · [LaTeX]({folder}/leaderboard.tex) · "
        f"made by `{document['command']}`",
        "",
    ]
    return "\n".join(lines)


def _caution(document: Document) -> list[str]:
    """Return what nobody may miss, as a quotation; nothing where there is no such thing."""
    text = document.get("caution", "")  # one of an older report has none
    return [f"> {escaped(text)}", ""] if text else []


def _tables(tables: Mapping[str, Table]) -> Iterable[str]:
    """Yield the tables, each under its heading if it has one."""
    for title, table in tables.items():
        if title:
            yield from (f"**{title}**", "")
        yield from (markdown(table), "")


def _section(title: str, table: Table | None, text: str) -> list[str]:
    """Return a section with the table and what is to be said of it, nothing without a table."""
    if table is None:
        return []
    return [f"## {title}", "", markdown(table), "", *([text, ""] if text else [])]


def _figures(figures: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the figures, each by its picture that every reader shows, with a link to its data."""
    lines = []
    for figure in figures:
        picture = next(name for name in figure["files"] if name.endswith(".png"))
        caption = escaped(figure["caption"])
        data = [name for name in figure["files"] if name.endswith(".csv")]
        links = "".join(f" ([data]({name}))" for name in data)
        lines += [f"![{caption}]({picture})", "", f"{caption}{links}", ""]
    return ["## Figures", "", *lines] if lines else []


def _flaws(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what went wrong in the rows' trainings."""
    found = [(row["row"], text) for row in rows for text in flaw_texts(row)]
    lines = [f"- {escaped(f'{row}: {text}')}" for row, text in found]
    return ["## What went wrong in training", "", *lines, ""] if lines else []


def _deviations(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return how each row differs from the published recipes."""
    lines = []
    for row in rows:
        if row["deviations"]:
            lines.append(f"- {escaped(row['row'])}")
        recipes: dict[str, list[str]] = {}
        for text in row["deviations"]:
            recipe, _, what = text.partition(": ")
            recipes.setdefault(recipe, []).append(what)
        lines += [f"  - {escaped(f'{name}: ' + '; '.join(all_))}" for name, all_ in recipes.items()]
    return ["## What deviates from the published recipes", "", *lines, ""] if lines else []
