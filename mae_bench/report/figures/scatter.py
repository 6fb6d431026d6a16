"""Numbers against what they cost: one panel for each column, one point for each row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from mae_bench.report.figures.columns import (
    best_first,
    columns,
    heading,
    left_out,
    readable,
    sheets,
)
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
MARKS = "Vertical lines are 95 % intervals; grey and hollow is published."
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
    per: float = 1.0
    """What the axis counts in."""
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
    "parameters of the encoder (millions)",
    "",
    "Each number against the encoder's parameters.",
    per=1e6,
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

    A panel needs points at two places of the axis. Vertical lines are 95 % intervals.
    """
    lines = lines.dropna(subset=against.x)
    drawn = readable(lines)
    shown = [best_first(group) for group in columns(drawn) if group[against.x].nunique() > 1]
    caption = f"{against.caption} {MARKS}{left_out(lines)}"
    return [
        Figure(name, caption, _draw(against, part, looks, folder / name))
        for name, part in sheets(against.name, shown).items()
    ]


def _draw(
    against: Against, shown: Sequence[pd.DataFrame], looks: Mapping[str, Look], stem: Path
) -> tuple[Path, ...]:
    """Draw one figure and return its files.

    Names stand beside the points, or in a legend where they have no room.
    """
    data = pd.concat(shown)
    main = str(data[against.device].mode()[0]) if against.device else ""
    shown = [group.assign(name=_names(group, against, main)) for group in shown]
    looked = _looked(shown, looks)
    kept = [*DATA, against.x, *filter(None, [against.device]), *["front"] * against.front]
    wide = min(WIDE, len(shown))
    for below in (0.0, LEGEND_ROW * -(-len(looked) // LEGEND_COLUMNS)):
        with sheet(HIGH * -(-len(shown) // wide) + AXIS + below) as figure:
            grid = panels(figure, len(shown), Room(wide, HIGH))
            for axes, group in zip(grid, shown, strict=True):
                _panel(axes, group, against, looks)
            axis = one_line(" on ".join(filter(None, [against.axis, main])))
            height = (below + 0.07) / figure.get_figheight()
            figure.supxlabel(axis, fontsize=8.5, y=height, va="bottom")
            if below:
                _legend(figure, looked)
            elif not _named(grid, shown, against, looks) and len(looked) <= MOST_NAMES:
                continue
            return write(figure, stem, data[kept])
    raise AssertionError("the second attempt returns")


def _looked(shown: Sequence[pd.DataFrame], looks: Mapping[str, Look]) -> dict[str, Look]:
    """Return name -> look, ours in the order of the rows and then what others published."""
    lines = [one for group in shown for one in group.to_dict("records")]
    order = {row: place for place, row in enumerate(looks)}
    lines.sort(key=lambda one: order.get(str(one["row"]), len(order)))
    return {str(one["name"]): looks.get(str(one["row"]), PUBLISHED) for one in lines}


def _names(group: pd.DataFrame, against: Against, main: str) -> list[str]:
    """Return what each point is called; hours on another device than the most say on which."""
    names = []
    for one in group.to_dict("records"):
        name = label(str(one["row"])) if one["kind"] == "ours" else str(one["kind"])
        device = str(one[against.device]) if against.device else ""
        names.append(f"{name} ({label(device)})" if device not in ("", main) else name)
    return names


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
            zorder=2 if theirs else 3,
        )
    axes.margins(0.12, 0.16)
    _scale(axes, [float(value) for value in group[against.x]], against.per)
    limits = axes.get_xlim(), axes.get_ylim()
    for stroke in _fronts(group, against, limits[0][1]):
        axes.plot(stroke.x, stroke.y, color=GREY, lw=1, zorder=1)
    axes.set_xlim(limits[0])
    axes.set_ylim(limits[1])


def _scale(axes: "Axes", values: Sequence[float], per: float) -> None:
    """Let the axis begin at 0, or be logarithmic above what is next to nothing."""
    top = max(values)
    counted = [value for value in values if value > NEAR_ZERO * top]
    if not counted or max(counted) / min(counted) <= LINEAR_BELOW:
        axes.set_xlim(-0.06 * top, 1.14 * top or 1.0)
        axes.locator_params(axis="x", nbins=5)
    elif len(counted) == len(values):
        axes.set_xscale("log")
        axes.set_xlim(min(values) / 2, 2 * top)
    else:
        axes.set_xscale("symlog", linthresh=min(counted), linscale=0.3)
        axes.set_xlim(-0.3 * min(counted), 2 * top)
    axes.locator_params(axis="y", nbins=5)
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(lambda value, _: number(value / per))
    axes.yaxis.set_major_formatter(lambda value, _: number(value))


def _named(
    grid: Sequence["Axes"],
    shown: Sequence[pd.DataFrame],
    against: Against,
    looks: Mapping[str, Look],
) -> bool:
    """Write each point's name, the best first; return whether all of them had room."""
    nameless = 0
    for axes, group in zip(grid, shown, strict=True):
        points, strokes = [], _fronts(group, against, axes.get_xlim()[1])
        for one in group.to_dict("records"):
            x, look = float(one[against.x]), looks.get(str(one["row"]), PUBLISHED)
            points.append(Point(x, one["mean"], str(one["name"]), look.colour))
            if not pd.isna(one["low"]):
                strokes.append(Stroke((x, x), (one["low"], one["high"])))
        nameless += name_points(axes, points, strokes)
    return nameless == 0


def _fronts(group: pd.DataFrame, against: Against, end: float) -> list[Stroke]:
    """Return the steps from each point on the front to the next, for each kind of device.

    A point that is alone on its kind of device has nothing to be compared with. The last
    number holds for whatever more is spent.
    """
    strokes: list[Stroke] = []
    if not against.front:
        return strokes
    for _, same in group.groupby(against.device, sort=False):
        if len(same) == 1:
            continue
        steps = same[same["front"].astype(bool)].sort_values(against.x)
        costs = [*map(float, steps[against.x]), end]
        values = [*map(float, steps["mean"])]
        for place, value in enumerate(values):
            strokes.append(Stroke((costs[place], costs[place + 1]), (value, value)))
            if place + 1 < len(values):
                up = (value, values[place + 1])
                strokes.append(Stroke((costs[place + 1], costs[place + 1]), up))
    return strokes


def _legend(figure: "MplFigure", looked: Mapping[str, Look]) -> None:
    """Write what each marker is below all panels."""
    from matplotlib.lines import Line2D

    handles = []
    for name, look in looked.items():
        handle = Line2D([], [], ls="", marker=look.marker, color=look.colour, label=name)
        handle.set_markerfacecolor("white" if look is PUBLISHED else look.colour)
        handles.append(handle)
    figure.legend(handles=handles, loc="lower center", ncols=LEGEND_COLUMNS)
