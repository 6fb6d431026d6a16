"""Every column as bars with intervals, one for each row."""

import math
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mae_bench.report.figures.columns import columns, heading, left_out, readable, sheets
from mae_bench.report.figures.figure import Figure
from mae_bench.report.figures.style import (
    GREY,
    INK,
    Look,
    Room,
    label,
    number,
    panels,
    sheet,
    text_size,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = "bars"
WIDE = 2
BAR, AROUND = 0.21, 0.72
"""Inches of a bar, and of a panel's title and axis."""
CLOSE = 0.25
"""Values that differ by less than this share of the largest are drawn without their zero."""
CAPTION = (
    "Each row's numbers. Dark lines are 95 % intervals; grey strokes are the published numbers "
    "of the same encoder. Points instead of bars stand on an axis that does not start at 0."
)
DATA = [
    "row",
    "arch",
    "origin",
    "task",
    "variant",
    "metric",
    "title",
    "unit",
    "mean",
    "low",
    "high",
    "basis",
    "published",
]


def bars(board: pd.DataFrame, looks: Mapping[str, Look], folder: Path) -> list[Figure]:
    """Draw the board's columns; panels that are too many go into further figures."""
    shown = list(columns(readable(board)))
    if "published" not in board:
        shown = [group.assign(published=float("nan")) for group in shown]
    caption = CAPTION + left_out(board)
    return [
        Figure(name, caption, _draw(part, looks, folder / name))
        for name, part in sheets(NAME, shown).items()
    ]


def _draw(shown: Sequence[pd.DataFrame], looks: Mapping[str, Look], stem: Path) -> tuple[Path, ...]:
    """Draw one figure and return its files; the rows have the same places in all panels."""
    data = pd.concat(shown)
    rows = [row for row in looks if row in set(data["row"])]
    wide, high = min(WIDE, len(shown)), BAR * len(rows) + AROUND
    with sheet(high * -(-len(shown) // wide)) as figure:
        names = [label(row) for row in rows]
        longest = max(text_size(figure, name, 8)[0] for name in names) / figure.dpi
        grid = panels(figure, len(shown), Room(wide, high, 0.15, longest, 0.42))
        for place, (axes, group) in enumerate(zip(grid, shown, strict=True)):
            _panel(axes, group, rows, looks)
            axes.set_yticks(range(len(rows)), [] if place % wide else names)
        return write(figure, stem, data[DATA])


def _panel(
    axes: "Axes", group: pd.DataFrame, rows: Sequence[str], looks: Mapping[str, Look]
) -> None:
    """Draw one column, the first row at the top."""
    start, end = _ends(group)
    group = group.assign(place=[rows.index(str(row)) for row in group["row"]])
    for one in group.to_dict("records"):
        _bar(axes, one, looks[str(one["row"])], start)
    for place in set(range(len(rows))) - set(group["place"]):
        axes.annotate(
            "no number",
            (start, place),
            (5, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
            color=GREY,
        )
    sure, theirs = group.dropna(subset="low"), group.dropna(subset="published")
    axes.hlines(sure["place"], sure["low"], sure["high"], color=INK, lw=1.3)
    axes.plot(theirs["published"], theirs["place"], "|", color=GREY, ms=12, mew=1.6, zorder=5)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(start, end)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(lambda value, _: number(value))
    axes.set_title(heading(group))
    if start != 0.0:
        axes.set_xlabel(f"the axis starts at {number(start)}", fontsize=7, labelpad=1)


def _bar(axes: "Axes", one: Mapping[Hashable, Any], look: Look, start: float) -> None:
    """Draw one number as a bar from 0, or as a point, and write it behind all of its marks."""
    place = one["place"]
    if start == 0.0:
        axes.barh(place, one["mean"], 0.68, color=look.colour)
    else:
        axes.plot([start, one["mean"]], [place, place], color=look.colour, lw=1)
        axes.plot(one["mean"], place, look.marker, color=look.colour, ms=5.5)
    right = max(v for v in (one["mean"], one["high"], one["published"]) if not pd.isna(v))
    text = f"{one['mean']:.{int(one['digits'])}f}"
    axes.annotate(
        text, (right, place), (5, 0), textcoords="offset points", va="center", fontsize=7.5
    )


def _ends(group: pd.DataFrame) -> tuple[float, float]:
    """Return where the axis starts and ends: at 0 unless the values are close together."""
    values = pd.concat([group[name] for name in ("mean", "low", "high", "published")]).dropna()
    lowest, highest = float(values.min()), float(values.max())
    spread = highest - lowest
    start = 0.0
    if 0 < spread < CLOSE * highest:
        step = 10.0 ** math.floor(math.log10(spread))
        start = math.floor((lowest - 0.1 * spread) / step) * step
    return start, highest + 0.2 * (highest - start) or 1.0
