"""Every column as bars with intervals, one for each row."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from mae_bench.report.figures.columns import MOST_PANELS, columns, heading, readable
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
    "Each row's numbers. Dark lines are 95 % intervals; hollow diamonds are the published numbers "
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
    made = []
    for first in range(0, len(shown), MOST_PANELS):
        name = NAME + (f"-{first // MOST_PANELS + 1}" if first else "")
        made.append(_figure(shown[first : first + MOST_PANELS], looks, folder / name))
    return made


def _figure(shown: Sequence[pd.DataFrame], looks: Mapping[str, Look], stem: Path) -> Figure:
    """Draw one figure."""
    high = BAR * max(map(len, shown)) + AROUND
    rows = {label(str(row)) for group in shown for row in group["row"]}
    with sheet(high * -(-len(shown) // WIDE)) as figure:
        longest = max(text_size(figure, row, 8)[0] for row in rows) / figure.dpi
        grid = panels(figure, len(shown), Room(WIDE, high, longest + 0.15, 0.42))
        for axes, group in zip(grid, shown, strict=True):
            _panel(axes, group, looks)
        files = write(figure, stem, pd.concat(shown)[DATA])
    return Figure(stem.name, CAPTION, files)


def _panel(axes: "Axes", group: pd.DataFrame, looks: Mapping[str, Look]) -> None:
    """Draw one column, the first row at the top."""
    start, end = _ends(group)
    for place, one in enumerate(group.to_dict("records")):
        look = looks[str(one["row"])]
        if start == 0.0:
            axes.barh(
                place,
                one["mean"],
                0.68,
                color=look.colour,
                hatch=look.hatch,
                edgecolor="white",
                lw=0,
            )
        else:
            axes.hlines(place, start, one["mean"], color=look.colour, lw=1)
            axes.plot(one["mean"], place, look.marker, color=look.colour, ms=5.5)
        if not pd.isna(one["low"]):
            axes.hlines(place, one["low"], one["high"], color=INK, lw=1.3)
        if not pd.isna(one["published"]):
            axes.plot(
                one["published"], place, "D", color=GREY, markerfacecolor="white", ms=4.5, zorder=5
            )
        text = f"{one['mean']:.{int(one['digits'])}f}"
        right = max(v for v in (one["mean"], one["high"], one["published"]) if not pd.isna(v))
        axes.annotate(
            text, (right, place), (5, 0), textcoords="offset points", va="center", fontsize=7.5
        )
    axes.set_yticks(range(len(group)), [label(str(row)) for row in group["row"]])
    axes.set_ylim(len(group) - 0.4, -0.6)
    axes.set_xlim(start, end)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(lambda value, _: number(value))
    axes.set_title(heading(group))
    if start != 0.0:
        axes.set_xlabel(f"the axis starts at {number(start)}", fontsize=7, labelpad=1)


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
