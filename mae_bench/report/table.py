"""Tables of text for people, as Markdown and for the terminal."""

import math
import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mae_bench.report.frame import status
from mae_bench.suite.wording import one_line

LONGEST = 160
"""Characters of a reason that a table shows; csv and json have all."""


@dataclass(frozen=True)
class Cell:
    """One cell: its text, and where a reader finds more."""

    text: str
    best: bool = False
    keys: tuple[str, ...] = ()
    """Jobs that the number comes from."""
    why: str = ""
    """Why there is no number."""


@dataclass(frozen=True)
class Table:
    """Headings and cells; the first column names the line."""

    headings: tuple[str, ...]
    lines: tuple[tuple[Cell, ...], ...]
    align: str
    """l or r for each column."""
    groups: tuple[tuple[str, int], ...] = ()
    """Headings above the headings: text and number of columns."""
    anchors: tuple[str, ...] = ()
    """Job key of each line, where a line is a job."""


def main_table(board: pd.DataFrame) -> Table:
    """Return one line an encoder: a column for each metric, parameters, FLOPs, architecture."""
    rows = _rows(board)
    lines = []
    for label, numbers in rows.items():
        cells = [Cell(label)]
        for one in numbers:
            keys = tuple(one["keys"].split())
            cells.append(Cell(score(one), bool(one["best"]), keys, one["why"]))
        cells += [
            Cell(_first(numbers, "params", lambda count: f"{count / 1e6:.2f}")),
            Cell(_first(numbers, "flops", lambda count: f"{count / 1e9:.3f}")),
            Cell(str(numbers[0]["arch"])),
        ]
        lines.append(tuple(cells))
    titles = _titles(rows)
    headings = ("Encoder", *titles, "Parameters (M)", "FLOPs (G)", "Architecture")
    return Table(headings, tuple(lines), "l" + "r" * (len(headings) - 2) + "l")


def difference_table(board: pd.DataFrame) -> Table:
    """Return one line an encoder, with each metric's difference to supervised and to random."""
    rows = _rows(board)
    kinds = {"delta_supervised": "−\u00a0supervised", "delta_random": "−\u00a0random"}
    lines = []
    for label, numbers in rows.items():
        cells = [Cell(label)]
        for one in numbers:
            cells += [Cell(signed(one[kind], int(one["digits"]))) for kind in kinds]
        lines.append(tuple(cells))
    titles = _titles(rows)
    headings = ("Encoder", *(name for _ in titles for name in kinds.values()))
    groups = (("", 1), *((title, len(kinds)) for title in titles))
    return Table(headings, tuple(lines), "l" + "r" * (len(headings) - 1), groups)


def job_table(jobs: pd.DataFrame) -> Table:
    """Return one line a job: its numbers or why it has none, its seconds, key and encoder."""
    lines = tuple(
        tuple(
            Cell(text)
            for text in (
                str(one["row"]),
                str(one["recipe"]),
                str(one["seed"]),
                _ending(one),
                "" if pd.isna(one["seconds"]) else f"{one['seconds']:.0f}",
                str(one["key"]),
                str(one["source"]),
            )
        )
        for one in jobs.to_dict("records")
    )
    headings = ("Encoder", "Recipe", "Seed", "Numbers", "Seconds", "Job", "Encoder from")
    return Table(headings, lines, "llrlrll", anchors=tuple(jobs["key"]))


def markdown(table: Table) -> str:
    """Return the table in Markdown; what Markdown would take for its own is escaped."""
    above = [text for text, width in table.groups for _ in range(width)]
    headings = table.headings
    if above:
        pairs = zip(above, table.headings, strict=True)
        headings = tuple(f"{group} {heading}".strip() for group, heading in pairs)
    rule = ["---:" if side == "r" else "---" for side in table.align]
    lines = [[escaped(heading) for heading in headings], rule]
    for line in table.lines:
        lines.append([f"**{escaped(c.text)}**" if c.best else escaped(c.text) for c in line])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plain(table: Table) -> str:
    """Return the table as aligned text for a terminal; the best numbers have an asterisk."""
    texts = [list(table.headings)]
    texts += [[one_line(cell.text) + "*" * cell.best for cell in line] for line in table.lines]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    places = list(zip(widths, table.align, strict=True))
    return "\n".join(
        "  ".join(
            text.rjust(width) if side == "r" else text.ljust(width)
            for text, (width, side) in zip(line, places, strict=True)
        ).rstrip()
        for line in texts
    )


def score(one: "Mapping[Hashable, Any] | pd.Series") -> str:
    """Return mean ± sd, the mean alone for one seed, or n/m where seeds are missing.

    Empty where nothing is to be measured.
    """
    digits = int(one["digits"])
    if one["m"] == 0:
        return ""
    if pd.isna(one["mean"]):
        return f"{one['n']}/{one['m']}"
    text = f"{one['mean']:.{digits}f}"
    return text if pd.isna(one["sd"]) else f"{text} ± {one['sd']:.{digits}f}"


def signed(value: float, digits: int) -> str:
    """Return the value with its sign (none for a rounded zero), empty if there is none."""
    if math.isnan(value):
        return ""
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text[1:] if float(text[1:]) == 0.0 else text


def escaped(text: str) -> str:
    """Return text that Markdown and the HTML in it show as it is, on one line."""
    safe = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", " ".join(safe.split()))


def _ending(one: Mapping[Hashable, object]) -> str:
    """Return a job's numbers, or why there are none."""
    if one["state"] == "done":
        return str(one["numbers"]) or "done"
    text = status(str(one["state"]), str(one["reason"]))
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _rows(board: pd.DataFrame) -> dict[str, list[dict[Hashable, Any]]]:
    """Return each encoder's lines of the board, one for every column of the tables, in order."""
    rows: dict[str, list[dict[Hashable, Any]]] = {}
    for line in board.to_dict("records"):
        rows.setdefault(str(line["row"]), []).append(line)
    return rows


def _titles(rows: Mapping[str, list[dict[Hashable, Any]]]) -> list[str]:
    """Return the columns' headings with their units."""
    return [
        f"{one['title']} ({one['unit']})" if one["unit"] else str(one["title"])
        for one in next(iter(rows.values()))
    ]


def _first(lines: list[dict[Hashable, Any]], name: str, text: Callable[[float], str]) -> str:
    """Return the text of the first number of that name, empty if there is none."""
    return next((text(one[name]) for one in lines if not pd.isna(one[name])), "")
