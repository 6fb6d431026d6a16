"""Numbers against what they cost: one panel for each column, one point for each row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from mae_bench.report.figures.columns import MOST_PANELS, best_first, columns, heading, readable
from mae_bench.report.figures.figure import Figure
from mae_bench.report.figures.labels import Point, Stroke, name_points
from mae_bench.report.figures.style import (
    GREY,
    PUBLISHED,
    Look,
    Room,
    label,
    number,
    panels,
    sheet,
    write,
)
from mae_bench.suite.wording import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MplFigure

WIDE = 2
HIGH, AXIS = 2.4, 0.3
"""Inches of a panel, and of the title of all horizontal axes."""
LEGEND_COLUMNS, LEGEND_ROW = 4, 0.19
"""Names beside each other in a legend, and inches of a row of them."""
LINEAR_BELOW = 20.0
"""The axis is logarithmic if its largest value is that many times its smallest."""
NEAR_ZERO = 1e-3
"""Share of the largest value below which another counts as next to nothing."""
MOST_NAMES = 16
"""Rows that a legend can hold."""
DATA = ["kind", "row", "arch", "task", "variant", "metric", "title", "unit", "mean", "low", "high"]


@dataclass(frozen=True)
class Against:
    """What numbers are drawn against."""

    name: str
    """Of the figure."""
    x: str
    """A column of the lines."""
    axis: str
    device: str
    """The column that names the device of `x`; empty where it has none."""
    caption: str
    front: bool = False
    """Whether the best for each cost are joined."""


PRETRAINING = Against(
    "pretraining-hours",
    "pretraining_gpu_hours",
    "pretraining GPU-hours",
    "pretraining_device",
    "Each number against the GPU-hours of pretraining.",
)
PARAMETERS = Against(
    "parameters",
    "params",
    "parameters of the encoder",
    "",
    "Each number against the encoder's parameters.",
)
EFFICIENCY = Against(
    "efficiency",
    "total_gpu_hours",
    "GPU-hours of pretraining and transfer",
    "device",
    "Each number against all hours that it took; the line joins those that nothing as good is "
    "cheaper than, on one kind of device.",
    front=True,
)


def scatter(
    against: Against, lines: pd.DataFrame, looks: Mapping[str, Look], folder: Path
) -> list[Figure]:
    """Draw the lines of `efficiency` against one of its columns; panels that are too many go into
    further figures.

    A panel needs two points. Vertical lines are 95 % intervals.
    """
    drawn = readable(lines.dropna(subset=against.x))
    shown = [best_first(group) for group in columns(drawn) if len(group) >= 2]
    made = []
    for first in range(0, len(shown), MOST_PANELS):
        part = shown[first : first + MOST_PANELS]
        name = against.name + (f"-{first // MOST_PANELS + 1}" if first else "")
        made.append(_figure(against, part, looks, folder / name))
    return made


def _figure(
    against: Against, shown: Sequence[pd.DataFrame], looks: Mapping[str, Look], stem: Path
) -> Figure:
    """Draw one figure: names beside the points, or a legend where they have no room."""
    data = pd.concat(shown)
    names = list(dict.fromkeys(map(str, data["row"])))
    kept = [*DATA, against.x, *filter(None, [against.device]), *["front"] * against.front]
    caption = f"{against.caption} Vertical lines are 95 % intervals."
    for below in (0.0, LEGEND_ROW * -(-len(names) // LEGEND_COLUMNS)):
        with sheet(HIGH * -(-len(shown) // WIDE) + AXIS + below) as figure:
            grid = panels(figure, len(shown), Room(WIDE, HIGH))
            for axes, group in zip(grid, shown, strict=True):
                _panel(axes, group, against, looks)
            figure.supxlabel(
                _axis(against, data),
                fontsize=8.5,
                y=(below + 0.07) / figure.get_figheight(),
                va="bottom",
            )
            if below:
                _legend(figure, names, looks)
            elif not _named(grid, shown, against, looks) and len(names) <= MOST_NAMES:
                continue
            return Figure(stem.name, caption, write(figure, stem, data[kept]))
    raise AssertionError("the second attempt returns")


def _axis(against: Against, data: pd.DataFrame) -> str:
    """Return the axis's title, with the kind of device if it is the same for all points."""
    devices = set(data[against.device]) if against.device else set()
    if len(devices) > 1:
        return f"{against.axis} (the device is in brackets)"
    return one_line(" on ".join(filter(None, [against.axis, *devices])))


def _panel(axes: "Axes", group: pd.DataFrame, against: Against, looks: Mapping[str, Look]) -> None:
    """Draw one column's points."""
    axes.set_title(heading(group))
    for one in group.to_dict("records"):
        look = looks.get(str(one["row"]), PUBLISHED)
        if not pd.isna(one["low"]):
            axes.vlines(one[against.x], one["low"], one["high"], color=look.colour, lw=1.1)
        theirs = one["kind"] != "ours"
        axes.plot(
            one[against.x],
            one["mean"],
            look.marker,
            ms=5.5,
            color=look.colour,
            markerfacecolor="white" if theirs else look.colour,
            markeredgewidth=1.2,
        )
    axes.margins(0.12, 0.16)
    _scale(axes, [float(value) for value in group[against.x]])
    limits = axes.get_xlim(), axes.get_ylim()
    for stroke in _fronts(group, against, limits[0][1]):
        axes.plot(stroke.x, stroke.y, color=GREY, lw=1, zorder=1)
    axes.set_xlim(limits[0])
    axes.set_ylim(limits[1])


def _scale(axes: "Axes", values: Sequence[float]) -> None:
    """Let the axis begin at 0, or be logarithmic above what is next to nothing."""
    top = max(values)
    counted = [value for value in values if value > NEAR_ZERO * top]
    if counted and max(counted) / min(counted) > LINEAR_BELOW:
        axes.set_xscale("symlog", linthresh=min(counted))
        axes.set_xlim(0 if min(values) == min(counted) else -0.15 * min(counted), 2.5 * top)
    else:
        axes.set_xlim(-0.06 * top, 1.14 * top)
        axes.locator_params(axis="x", nbins=5)
    axes.locator_params(axis="y", nbins=5)
    axes.xaxis.set_major_formatter(lambda value, _: number(value))
    axes.yaxis.set_major_formatter(lambda value, _: number(value))


def _named(
    grid: Sequence["Axes"],
    shown: Sequence[pd.DataFrame],
    against: Against,
    looks: Mapping[str, Look],
) -> bool:
    """Write each point's name, the best first; return whether all of them had room."""
    device = against.device
    several = bool(device) and pd.concat(shown)[device].nunique() > 1
    nameless = 0
    for axes, group in zip(grid, shown, strict=True):
        points, strokes = [], _fronts(group, against, axes.get_xlim()[1])
        for one in group.to_dict("records"):
            x, row = float(one[against.x]), str(one["row"])
            text = label(row) + (f" ({label(str(one[device]))})" if several else "")
            points.append(Point(x, one["mean"], text, looks.get(row, PUBLISHED).colour))
            if not pd.isna(one["low"]):
                strokes.append(Stroke((x, x), (one["low"], one["high"])))
        nameless += name_points(axes, points, strokes)
    return nameless == 0


def _fronts(group: pd.DataFrame, against: Against, end: float) -> list[Stroke]:
    """Return the steps from each point on the front to the next, for each kind of device.

    The last number holds for whatever more is spent.
    """
    strokes = []
    fronts = group[group["front"].astype(bool)] if against.front else group.head(0)
    for _, same in fronts.groupby(against.device or "row", sort=False):
        steps = same.sort_values(against.x)
        costs = [*map(float, steps[against.x]), end]
        values = [*map(float, steps["mean"])]
        for place, value in enumerate(values):
            strokes.append(Stroke((costs[place], costs[place + 1]), (value, value)))
            if place + 1 < len(values):
                up = (value, values[place + 1])
                strokes.append(Stroke((costs[place + 1], costs[place + 1]), up))
    return strokes


def _legend(figure: "MplFigure", names: Sequence[str], looks: Mapping[str, Look]) -> None:
    """Write what each marker is below all panels."""
    from matplotlib.lines import Line2D

    handles = []
    for name in names:
        look = looks.get(name, PUBLISHED)
        handle = Line2D([], [], ls="", marker=look.marker, color=look.colour, label=label(name))
        handle.set_markerfacecolor(look.colour if name in looks else "white")
        handles.append(handle)
    figure.legend(handles=handles, loc="lower center", ncols=LEGEND_COLUMNS)
