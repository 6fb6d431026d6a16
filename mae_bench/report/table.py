"""Tables of text for people, and how a number is said in them; must not know pandas."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mae_bench.suite.wording import one_line

Kind = Literal["ours", "published", "imported", "heading"]
"""Of a line: others' numbers are set apart; a heading stands across all columns."""


@dataclass(frozen=True)
class Cell:
    """One cell: its text, whether it is marked, and what stands smaller below it."""

    text: str
    best: bool = False
    small: str = ""


@dataclass(frozen=True)
class Table:
    """Headings and cells; the first column names the line."""

    headings: tuple[str, ...]
    lines: tuple[tuple[Cell, ...], ...]
    align: str
    """l or r for each column."""
    kinds: tuple[Kind, ...] = ()
    """Of each line; empty where all are ours."""

    def kind(self, line: int) -> Kind:
        """Return the kind of the line of that number."""
        return self.kinds[line] if self.kinds else "ours"


def markdown(table: Table) -> str:
    """Return the table in Markdown; what Markdown would take for its own is escaped."""
    rule = ["---:" if side == "r" else "---" for side in table.align]
    lines = [[escaped(heading) for heading in table.headings], rule]
    for place, line in enumerate(table.lines):
        cells = [_markdown_cell(cell, table.kind(place)) for cell in line]
        lines.append(cells + [""] * (len(table.headings) - len(cells)))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plain(table: Table) -> str:
    """Return the table as aligned text for a terminal; the best numbers have an asterisk."""
    texts = [list(table.headings)]
    for line in table.lines:
        cells = [one_line(cell.text) + "*" * cell.best for cell in line]
        texts.append(cells + [""] * (len(table.headings) - len(cells)))
    shown = [line for line in texts if any(line[1:])]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    places = list(zip(widths, table.align, strict=True))
    return "\n".join(
        "  ".join(
            text.rjust(width) if side == "r" else text.ljust(width)
            for text, (width, side) in zip(line, places, strict=True)
        ).rstrip()
        for line in texts
    )


def score(one: Mapping[str, Any]) -> str:
    """Return mean ± sd, the mean alone for one seed, or n/m where seeds are missing.

    Empty where nothing is to be measured.
    """
    digits = int(one["digits"])
    if one["m"] == 0:
        return ""
    if _blank(one["mean"]):
        return f"{one['n']}/{one['m']}"
    text = f"{one['mean']:.{digits}f}"
    return text if _blank(one["sd"]) else f"{text} ± {one['sd']:.{digits}f}"


def number(value: float | None, digits: int) -> str:
    """Return the value with a minus as wide as a plus, empty if there is none."""
    return signed(value, digits).removeprefix("+")


def signed(value: float | None, digits: int) -> str:
    """Return the value with its sign (none for a rounded zero), empty if there is none."""
    if _blank(value):
        return ""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0.0 else text.replace("-", "−")


def interval(
    low: float | None,
    high: float | None,
    digits: int,
    show: Callable[[float, int], str] = number,
) -> str:
    """Return an interval in brackets, its ends as `show` writes them; empty if there is none."""
    if low is None or high is None:
        return ""
    return f"[{show(low, digits)}, {show(high, digits)}]"


def three(value: float | None) -> str:
    """Return three digits that count, thousands apart; empty if there is no number."""
    if value is None or _blank(value):
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def escaped(text: str) -> str:
    """Return text that Markdown and the HTML in it show as it is, on one line."""
    safe = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", " ".join(safe.split()))


def _markdown_cell(cell: Cell, kind: Kind) -> str:
    """Return a cell: the best bold, others' in italics, what is small below."""
    text = escaped(cell.text)
    if text and (cell.best or kind == "heading"):
        text = f"**{text}**"
    elif text and kind in ("published", "imported"):
        text = f"*{text}*"
    return f"{text}<br><sub>{escaped(cell.small)}</sub>" if cell.small else text


def _blank(value: Any) -> bool:
    """Return whether there is no number."""
    return value is None or value != value  # noqa: PLR0124 - NaN is not itself
