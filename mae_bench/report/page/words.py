"""Numbers of the document as a reader sees them; None gives no text."""

from collections.abc import Mapping
from typing import Any

from mae_bench.report import table

Line = Mapping[str, Any]
"""A cell, row, column or job of the document."""
BASES = {
    "seeds": "Student's t over seeds",
    "images": "bootstrap over test images",
    "images + floor": "bootstrap over test images, widened by a published spread over seeds",
    "floor": "a published spread over seeds, since nothing was measured here",
}
"""Basis of an interval -> where it comes from, in words."""
SIGNS = {"within noise": "≈", "outside noise": "≠"}
ARROWS = {True: "↑", False: "↓"}


def interval(line: Line, prefix: str = "") -> str:
    """Return [low, high] of the cell's mean, or of the difference that `prefix` names."""
    ends = line.get(f"{prefix}low"), line.get(f"{prefix}high")
    return table.interval(*ends, line["digits"], table.signed if prefix else table.number)


def p_value(value: float | None) -> str:
    """Return "p = 0.03", to two significant digits."""
    if value is None:
        return ""
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


def basis(name: str | None) -> str:
    """Return in words what an interval is known from."""
    return BASES.get(name or "", name or "")


def measure(column: Line) -> str:
    """Return the column's unit, and which way is better."""
    return " ".join(filter(None, (column["unit"], ARROWS[column["higher_is_better"]])))


def titled(column: Line) -> str:
    """Return the column's title with its variant and unit."""
    name = ", ".join(filter(None, (column["title"], column["variant"])))
    return f"{name} ({column['unit']})" if column["unit"] else name


def millions(count: float | None) -> str:
    """Return a count in millions, three digits that matter."""
    return "" if count is None else table.three(count / 1e6)


def billions(count: float | None) -> str:
    """Return a count in billions, three digits that matter."""
    return "" if count is None else table.three(count / 1e9)


def hours(value: float | None) -> str:
    """Return hours, three digits that matter."""
    return "" if value is None else f"{table.three(value)} h"


def whole(value: float | None) -> str:
    """Return a count, its thousands set apart."""
    return "" if value is None else f"{value:,.0f}"


def plural(count: int, noun: str) -> str:
    """Return "1 row" or "3 rows"."""
    return f"{count} {noun}{'s' * (count != 1)}"
