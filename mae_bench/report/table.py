"""Tables of text for people, and their Markdown."""

import math
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Table:
    """Headings and cells as text; the first column names the line."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    bold: frozenset[tuple[int, int]] = frozenset()
    """(row, column) of the cells to stress."""


def main_table(board: pd.DataFrame) -> Table:
    """Return one line an encoder: parameters, multiply-adds, and a column for each metric."""
    columns = _columns(board)
    rows, bold = [], set()
    for i, (label, group) in enumerate(board.groupby("row", sort=False)):
        cells = [str(label), _millions(group["params"].max()), _billions(group["flops"].max())]
        for task, metric in columns:
            cell = group[(group["task"] == task) & (group["metric"] == metric)].iloc[0]
            if cell["best"]:
                bold.add((i, len(cells)))
            cells.append(score(cell))
        rows.append(tuple(cells))
    titles = (_title(board, task, metric) for task, metric in columns)
    headings = ("Encoder", "Parameters (M)", "Multiply-adds (G)", *titles)
    return Table(headings, tuple(rows), frozenset(bold))


def difference_table(board: pd.DataFrame) -> Table:
    """Return one line an encoder, with each metric's difference to supervised and to random."""
    columns = _columns(board)
    kinds = (("delta_supervised", "supervised"), ("delta_random", "random init"))
    headings = ["Encoder"]
    for task, metric in columns:
        headings += [f"{_title(board, task, metric)} − {name}" for _, name in kinds]
    rows = []
    for label, group in board.groupby("row", sort=False):
        cells = [str(label)]
        for task, metric in columns:
            cell = group[(group["task"] == task) & (group["metric"] == metric)].iloc[0]
            cells += [signed(cell[kind], int(cell["digits"])) for kind, _ in kinds]
        rows.append(tuple(cells))
    return Table(tuple(headings), tuple(rows))


def source_table(frame: pd.DataFrame) -> Table:
    """Return one line a number: which job made it, how long it took, or why it is not there."""
    rows = tuple(
        (
            str(one["row"]),
            f"{one['title']} ({one['unit']})",
            str(one["seed"]),
            "" if pd.isna(one["value"]) else f"{one['value']:.{one['digits']}f}",
            str(one["key"]),
            "" if pd.isna(one["seconds"]) else f"{one['seconds']:.0f}",
            str(one["state"]),
        )
        for one in frame.to_dict("records")
    )
    return Table(("Encoder", "Metric", "Seed", "Value", "Job", "Seconds", "State"), rows)


def markdown(table: Table) -> str:
    """Return the table in Markdown; bars in cells are escaped."""
    rule = ["---", *["---:"] * (len(table.headings) - 1)]
    lines = [table.headings, tuple(rule)]
    for i, row in enumerate(table.rows):
        lines.append(
            tuple(
                f"**{_escaped(cell)}**" if (i, j) in table.bold else _escaped(cell)
                for j, cell in enumerate(row)
            )
        )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def score(cell: pd.Series) -> str:
    """Return mean ± sd, the mean alone for one seed, or n/m where seeds are missing."""
    digits = int(cell["digits"])
    if pd.isna(cell["mean"]):
        return f"{cell['n']}/{cell['m']}"
    text = f"{cell['mean']:.{digits}f}"
    return text if pd.isna(cell["sd"]) else f"{text} ± {cell['sd']:.{digits}f}"


def signed(value: float, digits: int) -> str:
    """Return the value with its sign, empty if there is none."""
    return "" if math.isnan(value) else f"{value:+.{digits}f}".replace("-", "−")


def _columns(board: pd.DataFrame) -> list[tuple[str, str]]:
    """Return task and metric of every column, in order."""
    return list(board[["task", "metric"]].drop_duplicates().itertuples(index=False, name=None))


def _title(board: pd.DataFrame, task: str, metric: str) -> str:
    """Return a column's heading with its unit."""
    one = board[(board["task"] == task) & (board["metric"] == metric)].iloc[0]
    return f"{one['title']} ({one['unit']})" if one["unit"] else str(one["title"])


def _millions(value: float) -> str:
    """Return a count in millions."""
    return "" if pd.isna(value) else f"{value / 1e6:.2f}"


def _billions(value: float) -> str:
    """Return a count in billions."""
    return "" if pd.isna(value) else f"{value / 1e9:.3f}"


def _escaped(text: str) -> str:
    """Return text that is safe inside a Markdown table, which may hold HTML."""
    safe = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return safe.replace("|", "\\|").replace("\n", " ")
