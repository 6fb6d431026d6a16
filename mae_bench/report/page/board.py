"""The main table: a line for each row of ours and each published one, columns grouped by task."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from mae_bench.report.flawed import flaw_texts, kinds_of
from mae_bench.report.page.cells import number_cell, source_of
from mae_bench.report.page.markup import Html, element, joined
from mae_bench.report.page.words import (
    Line,
    billions,
    measure,
    millions,
    plural,
    whole,
)

KINDS = {"ours": "This suite", "published": "Published", "imported": "Imported"}
STAMP_SIGNS = {
    "paper": element("span", "as published", class_="stamp paper"),
    "deviates": element("span", "deviates", class_="stamp deviates"),
}
"""Stamp -> what stands under the name of a row that has it."""
STAMPS = {"paper": "As published", "deviates": "Deviating", "": "Not noted"}


@dataclass(frozen=True)
class Fact:
    """A column that tells of the row itself."""

    id: str
    title: str
    text: Callable[[float], str] | None = None
    """How its number is written; None for a text."""
    unit: str = ""


FACTS = (
    Fact("epochs", "Epochs", whole),
    Fact("params", "Parameters", millions, "millions"),
    Fact("flops", "FLOPs", billions, "billions"),
    Fact("arch", "Architecture"),
    Fact("source", "Recipe or source"),
)


@dataclass(frozen=True)
class Board:
    """The document's rows, columns and cells, ready to be looked up."""

    columns: Sequence[Line]
    rows: Sequence[Line]
    cells: Mapping[tuple[str, str], Line]
    """Row and column -> cell."""

    def tasks(self) -> list[tuple[str, list[Line]]]:
        """Return each task, its variant beside it, with its columns."""
        return [(task, list(group)) for task, group in groupby(self.columns, key=task_of)]

    def of_row(self, row: Line) -> list[tuple[Line, Line]]:
        """Return the row's columns, each with its cell, where it has one."""
        pairs = ((column, self.cells.get((row["row"], column["id"]))) for column in self.columns)
        return [(column, cell) for column, cell in pairs if cell is not None]


def board_of(document: Mapping[str, Any]) -> Board:
    """Return the board of a document."""
    cells = {(cell["row"], cell["column"]): cell for cell in document["cells"]}
    return Board(document["columns"], document["rows"], cells)


def task_of(column: Line) -> str:
    """Return a column's task with its variant."""
    return " · ".join(filter(None, (column["task"], column.get("variant"))))


def row_id(place: int) -> str:
    """Return the anchor of the row at that place of the board."""
    return f"row-{place}"


def main_table(board: Board) -> Html:
    """Return the table; a script may sort and filter its lines by what their attributes hold."""
    caption = element("caption", "Every encoder in every task", class_="said")
    inner = element("table", caption, _head(board), _body(board), id="board", class_="board")
    return element(
        "div",
        inner,
        class_="box",
        role="region",
        aria_label="Table: every encoder in every task",
        tabindex=0,
        id="board-box",
    )


def _head(board: Board) -> Html:
    """Return the headings: tasks above, metrics beneath, each with a button that sorts."""
    above = [element("td", class_="first")]
    title = joined([element("span", "Encoder"), element("small")])
    beneath = [_sorter("row", title, "text", scope="col", class_="first")]
    place = 0
    for task, columns in board.tasks():
        group = element(
            "th", task, scope="colgroup", colspan=len(columns), data_task=task, class_="group"
        )
        above.append(group)
        for column in columns:
            beneath.append(_metric_heading(column, task, place))
            place += 1
    above.append(element("td", colspan=len(FACTS), class_="facts"))
    for fact in FACTS:
        kind = "number" if fact.text else "text"
        classes = f"c{place} {'n' if fact.text else ''}".strip()
        title = joined([element("span", fact.title), element("small", fact.unit)])
        beneath.append(_sorter(fact.id, title, kind, scope="col", class_=classes))
        place += 1
    return element("thead", element("tr", *above), element("tr", *beneath))


def _metric_heading(column: Line, task: str, place: int) -> Html:
    """Return the heading of a metric's column; its first click puts the best on top."""
    word = "higher is better" if column["higher_is_better"] else "lower is better"
    unit = element("small", measure(column), title=word)
    label = joined([element("span", column["title"]), unit])
    return _sorter(
        column["id"],
        label,
        "number" if column["higher_is_better"] else "less",
        scope="col",
        class_=f"c{place} n",
        data_task=task,
    )


def _sorter(name: str, label: Html, kind: str, /, **attributes: str) -> Html:
    """Return a heading whose button sorts: number (most first), less (least first) or text."""
    button = element("button", label, type="button")
    return element("th", button, data_id=name, data_sort=kind, **attributes)


def _body(board: Board) -> Html:
    """Return all lines, the name of its band above each band if there are several."""
    width = 1 + len(board.columns) + len(FACTS)
    bands = groupby(enumerate(board.rows), key=lambda pair: _band(pair[1]))
    found = [(band, list(rows)) for band, rows in bands]
    lines = []
    for band, rows in found:
        if len(found) > 1:
            title = element("th", element("span", band), colspan=width, scope="rowgroup")
            lines.append(element("tr", title, class_="band"))
        lines += [_line(board, row, place) for place, row in rows]
    return element("tbody", joined(lines, "\n"))


def _band(row: Line) -> str:
    """Return what is written above rows of that architecture, those that deviate apart."""
    apart = ", deviating from the published recipes" if row["stamp"] == "deviates" else ""
    return f"{row['arch'] or 'Other architectures'}{apart}"


def _line(board: Board, row: Line, place: int) -> Html:
    """Return one row of the table."""
    cells = []
    tasks = []
    for index, column in enumerate(board.columns):
        cell = board.cells.get((row["row"], column["id"]))
        tasks += [task_of(column), column["title"]] if cell else []
        cells.append(number_cell(cell, column, f"c{index} n"))
    cells += [_fact(row, fact, len(board.columns) + i) for i, fact in enumerate(FACTS)]
    words = [row["row"], row["arch"], row["origin"], source_of(row), KINDS[row["kind"]], *tasks]
    words += kinds_of(row)
    return element(
        "tr",
        _name(row, place),
        *cells,
        class_="ours" if row["kind"] == "ours" else "theirs",
        data_kind=row["kind"],
        data_arch=row["arch"] or "unknown",
        data_stamp=(row["stamp"] or "none") if row["kind"] == "ours" else None,
        data_words=" ".join(dict.fromkeys(filter(None, words))).lower(),
    )


def _name(row: Line, place: int) -> Html:
    """Return the row's name, which leads to its details, and what it is under it."""
    link = element("a", row["row"], href=f"#{row_id(place)}", class_="name")
    source = row["location"] or row["source"]
    about = joined([f"{KINDS[row['kind']].lower()}, {source}"])
    if row["kind"] == "ours":
        signs = [STAMP_SIGNS.get(row["stamp"], ""), *_flaw_signs(row)]
        about = joined([row["origin"], *signs], " · ")
    under = element("small", about)
    return element("th", link, under, scope="row", class_="first", data_v=row["row"])


def _flaw_signs(row: Line) -> list[Html]:
    """Return a badge for each kind of flaw, which says what it is to who points at it."""
    texts = flaw_texts(row)
    return [
        element(
            "span",
            kind,
            class_="stamp deviates",
            title="; ".join(text for text in texts if text.startswith(kind)),
        )
        for kind in kinds_of(row)
    ]


def _fact(row: Line, fact: Fact, place: int) -> Html:
    """Return the cell of a column that tells of the row."""
    if fact.id == "source":
        return _source(row, f"c{place} src")
    value = row.get(fact.id)
    if value is None or fact.text is None:
        return element("td", str(value or ""), class_=f"c{place}", data_v=value)
    return element("td", fact.text(value), class_=f"c{place} n", data_v=repr(value))


def _source(row: Line, classes: str) -> Html:
    """Return how far the row is from its published recipe, or who published it."""
    if row["kind"] == "ours":
        count = len(row["deviations"])
        text = f"deviates in {plural(count, 'way')}" if count else STAMPS[row["stamp"]].lower()
        badge = element("span", text, class_=f"stamp {row['stamp']}".strip())
        return element("td", badge, class_=classes, data_v=text)
    text = source_of(row)
    return element("td", text, class_=classes, data_v=text)
