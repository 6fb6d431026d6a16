"""Which tables a leaderboard has, made from its document alone."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from mae_bench.core.fidelity import PAPER
from mae_bench.core.registry import load
from mae_bench.report.differences import BASELINE_NAMES, SETTLED
from mae_bench.report.document import Document
from mae_bench.report.efficiency import efficiency_table
from mae_bench.report.flawed import kinds_of
from mae_bench.report.frame import status
from mae_bench.report.rows import DEVIATES, column_id, order
from mae_bench.report.table import Cell, Kind, Table, interval, score, signed, three

MOST_COLUMNS = 6
"""Of numbers in one table; where there are more, each data set has its own."""
LONGEST = 160
"""Characters of a reason that a table shows; csv and json have all."""
DATA_SETS = {"imagenet": "ImageNet", "coco": "COCO", "ade20k": "ADE20K", "voc": "PASCAL VOC"}
NOTE = "Note"
APART = "Not run as published"

Line = Mapping[str, Any]
"""A row, column, cell or job of the document."""
OfNumber = Callable[[Line], Cell]


def main_tables(document: Document) -> dict[str, Table]:
    """Return heading -> table: a line for each row of ours and of others.

    One table without a heading, or one for each data set where that would be too wide.
    """
    return {
        title: main_table(document, columns, document["rows"], _number)
        for title, columns in _parts(document["columns"]).items()
    }


def own_tables(document: Document) -> dict[str, Table]:
    """Return heading -> table: a line for each of our rows."""
    rows = [row for row in document["rows"] if row["kind"] == "ours"]
    return {
        title: main_table(document, columns, rows, _number)
        for title, columns in _parts(document["columns"]).items()
    }


def terminal_table(document: Document) -> Table:
    """Return a line for each of our rows: numbers, and how far the published ones are."""
    rows = [row for row in document["rows"] if row["kind"] == "ours"]
    return main_table(document, document["columns"], rows, _compact)


def main_table(
    document: Document, columns: Sequence[Line], rows: Sequence[Line], number: OfNumber
) -> Table:
    """Return a line for each row that has a number in one of the columns, and all of ours."""
    cells = cells_of(document)
    lines: list[tuple[Cell, ...]] = []
    kinds: list[Kind] = []
    there = [_within(row, columns, document) for row in rows]
    apart = len({row["stamp"] == DEVIATES for row in there if row["kind"] == "ours"}) > 1
    for row in (there[place] for place in order(map(_told, there))):
        found = [cells.get((row["row"], column["id"])) for column in columns]
        if row["kind"] != "ours" and not any(found):
            continue
        if apart and row["stamp"] == DEVIATES:
            lines.append((Cell(APART),))
            kinds.append("heading")
            apart = False
        numbers = [
            Cell("") if cell is None else number(_whole(cell, column))
            for cell, column in zip(found, columns, strict=True)
        ]
        lines.append((Cell(row["row"]), Cell(stamp(row)), *numbers, *_size(row)))
        kinds.append(row["kind"])
    names = headings(document)
    shown = (
        "Encoder",
        "Recipes",
        *(names[column["id"]] for column in columns),
        "Parameters (M)",
        "FLOPs (G)",
        "Architecture",
    )
    return Table(shown, tuple(lines), "ll" + "r" * (len(shown) - 3) + "l", tuple(kinds))


def difference_tables(document: Document) -> dict[str, Table]:
    """Return baseline -> table: each of our rows less the baseline of its architecture."""
    cells, names = cells_of(document), headings(document)
    rows = [row for row in document["rows"] if row["kind"] == "ours"]
    tables = {}
    for name, baseline in BASELINE_NAMES.items():
        columns = [
            column
            for column in document["columns"]
            if any(_difference(cells, row, column, name).text for row in rows)
        ]
        found = [[_difference(cells, row, column, name) for column in columns] for row in rows]
        lines = [
            (Cell(row["row"]), *line)
            for row, line in zip(rows, found, strict=True)
            if any(cell.text for cell in line)
        ]
        if columns:
            shown = ("Encoder", *(names[column["id"]] for column in columns))
            tables[baseline] = Table(shown, tuple(lines), "l" + "r" * len(columns))
    return tables


def twin_table(document: Document) -> Table | None:
    """Return our numbers beside the published ones of the same encoder, None if there are none."""
    names = headings(document)
    lines = []
    for cell in document["cells"]:
        if cell.get("delta_published") is None:
            continue
        number = _number(cell)
        distance = signed(cell["delta_published"], cell["digits"])
        lines.append(
            (
                Cell(cell["row"]),
                Cell(names[cell["column"]]),
                Cell(number.text, small=number.small),
                Cell(_as_published(cell["published"], cell["digits"])),
                Cell(distance),
                Cell(cell["agreement"] or ""),
                Cell(cell["published_by"]),
                Cell(cell["published_note"]),
            )
        )
    shown = ("Encoder", "Number", "Ours", "Published", "Difference", "Verdict", "Source", NOTE)
    return Table(shown, tuple(lines), "llrrrlll") if lines else None


def job_table(document: Document) -> Table:
    """Return one line a job: its numbers or why it has none, its seconds, key and encoder."""
    lines = tuple(
        (
            Cell(one["row"]),
            Cell(one["recipe"]),
            Cell(str(one["seed"])),
            Cell(_ending(one)),
            Cell("" if one["seconds"] is None else f"{one['seconds']:.0f}"),
            Cell(one["key"]),
            Cell(one["source"]),
        )
        for one in document["jobs"]
    )
    shown = ("Encoder", "Recipe", "Seed", "Numbers", "Seconds", "Job", "Encoder from")
    return Table(shown, lines, "llrlrll")


def cost_table(document: Document) -> Table | None:
    """Return what each number costs to reach, column by column; None where nothing is known."""
    places = {column["id"]: place for place, column in enumerate(document["columns"])}
    lines = sorted(document["efficiency"], key=lambda line: places[column_id(line)])
    return efficiency_table(pd.DataFrame.from_records(lines)) if lines else None


def agreement_table(document: Document) -> Table | None:
    """Return how alike columns rank the rows, None where too few can be compared."""
    names = headings(document)
    lines = tuple(
        (
            Cell(names.get(one["one"], one["one"])),
            Cell(names.get(one["other"], one["other"])),
            Cell(str(one["n"])),
            *(
                Cell("" if one[name] is None else signed(one[name], 2))
                for name in ("spearman", "kendall")
            ),
            Cell("" if one["p"] is None else f"{one['p']:.2g}"),
        )
        for one in document["rank_agreement"]
    )
    shown = ("Column", "Other column", "Rows", "Spearman", "Kendall", "p")
    return Table(shown, lines, "llrrrr") if lines else None


def headings(document: Document) -> dict[str, str]:
    """Return column id -> title with unit, and with its variant where a metric has several."""
    columns = document["columns"]
    metrics = Counter((column["task"], column["metric"]) for column in columns)
    names = {}
    for column in columns:
        several = metrics[column["task"], column["metric"]] > 1
        title = column["title"]
        title += f", {column['variant'] or 'as usual'}" if several else ""
        names[column["id"]] = f"{title} ({column['unit']})" if column["unit"] else title
    return names


def stamp(row: Line) -> str:
    """Return whether the row was run as published and went well, or whose numbers it has."""
    if row["kind"] != "ours":
        return str(row["kind"])
    count = len(row["deviations"])
    text = f"deviates ({count})" if count else str(row["stamp"])
    return ", ".join(filter(None, [text, *kinds_of(row)]))


def cells_of(document: Document) -> dict[tuple[str, str], Line]:
    """Return row and column id -> cell."""
    return {(cell["row"], cell["column"]): cell for cell in document["cells"]}


def _parts(columns: Sequence[Line]) -> dict[str, list[Line]]:
    """Return heading -> columns of one table."""
    if len(columns) <= MOST_COLUMNS:
        return {"": list(columns)}
    parts: dict[str, list[Line]] = {}
    for column in columns:
        name = load(column["task"]).dataset
        parts.setdefault(DATA_SETS.get(name.partition("_")[0], name), []).append(column)
    return parts


def _within(row: Line, columns: Sequence[Line], document: Document) -> Line:
    """Return the row with what deviates or went wrong in these columns and for its encoder."""
    others = {column["task"] for column in document["columns"]}
    others -= {column["task"] for column in columns}
    found = [text for text in row["deviations"] if text.partition(": ")[0] not in others]
    stamp = PAPER if row["deviations"] and not found else row["stamp"]
    flaws = [flaw for flaw in row.get("flaws", ()) if flaw["recipe"] not in others]
    return {**row, "deviations": found, "stamp": stamp, "flaws": flaws}


def _told(row: Line) -> tuple[str, str, str]:
    """Return what decides the row's place."""
    return row["kind"], row["arch"], row["stamp"]


def _whole(cell: Line, column: Line) -> Line:
    """Return the cell with what a number of others lacks."""
    blanks = {"n": 1, "m": 1, "sd": None, "low": None, "high": None, "best": False}
    return {**blanks, "digits": column["digits"], **cell}


def _number(cell: Line) -> Cell:
    """Return mean ± sd over the interval."""
    small = interval(cell["low"], cell["high"], cell["digits"])
    return Cell(score(cell), bool(cell["best"]), small)


def _as_published(value: float, digits: int) -> str:
    """Return a number with all the digits that its source gives."""
    given = len(f"{value:.15g}".partition(".")[2])
    return f"{value:.{max(given, digits)}f}"


def _compact(cell: Line) -> Cell:
    """Return mean ± sd, and in parentheses the distance to the published number."""
    distance = signed(cell.get("delta_published"), cell["digits"])
    return Cell(score(cell) + f" ({distance})" * bool(distance), bool(cell["best"]))


def _difference(cells: Mapping[tuple[str, str], Line], row: Line, column: Line, name: str) -> Cell:
    """Return the difference over its interval; bold where it is settled."""
    cell = cells.get((row["row"], column["id"]))
    if cell is None or cell[name] is None:
        return Cell("")
    digits, p = column["digits"], cell[f"{name}_p"]
    small = interval(cell[f"{name}_low"], cell[f"{name}_high"], digits, signed)
    return Cell(signed(cell[name], digits), p is not None and p < SETTLED, small)


def _size(row: Line) -> Iterator[Cell]:
    """Yield parameters, multiply-adds and architecture of the encoder."""
    yield Cell("" if row["params"] is None else three(row["params"] / 1e6))
    yield Cell("" if row["flops"] is None else three(row["flops"] / 1e9))
    yield Cell(row["arch"])


def _ending(one: Line) -> str:
    """Return a job's numbers, or why there are none."""
    if one["state"] == "done":
        return str(one["numbers"]) or "done"
    text = status(one["state"], one["reason"])
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
