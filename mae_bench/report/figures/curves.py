"""Tasks whose metrics are points of one line: a panel for each, a line for each row."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from mae_bench.core.recipe import Curve
from mae_bench.report.figures.columns import curve_of, readable
from mae_bench.report.figures.figure import Figure
from mae_bench.report.figures.labels import Point, name_ends
from mae_bench.report.figures.style import (
    PUBLISHED,
    Look,
    Room,
    label,
    number,
    panels,
    sheet,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = "partial"
HIGH = 3.6
DATA = ["kind", "row", "arch", "task", "variant", "metric", "place", "mean", "low", "high"]


def curves(lines: pd.DataFrame, looks: Mapping[str, Look], folder: Path) -> list[Figure]:
    """Draw the lines of `efficiency` that are points of a task's curve; grey is published."""
    shown = []
    for (task, _), group in lines.groupby(["task", "variant"], sort=False):
        curve = curve_of(str(task))
        places = {} if curve is None else dict(curve.points)
        there = group[group["metric"].isin(list(places))].dropna(subset="mean")
        if curve is not None and len(there):
            there = there.assign(place=there["metric"].map(places))
            shown.append((curve, readable(there)))
    if not shown:
        return []
    with sheet(HIGH * len(shown)) as figure:
        grid = panels(figure, len(shown), Room(1, HIGH, bottom=0.5))
        points = [
            _panel(axes, curve, group, looks)
            for axes, (curve, group) in zip(grid, shown, strict=True)
        ]
        for axes, those in zip(grid, points, strict=True):
            name_ends(axes, those, -0.3)
        data = pd.concat([group for _, group in shown])[DATA]
        files = write(figure, folder / NAME, data)
    titles = ", ".join(dict.fromkeys(curve.title for curve, _ in shown))
    caption = f"Accuracy along {titles}; grey is published, vertical lines are 95 % intervals."
    return [Figure(NAME, caption, files)]


def _panel(
    axes: "Axes", curve: Curve, group: pd.DataFrame, looks: Mapping[str, Look]
) -> list[Point]:
    """Draw one task's lines; return the point at which each is named."""
    present = set(group["metric"])
    places = {name: at for at, name in enumerate(n for n, _ in curve.points if n in present)}
    ends = []
    for row, those in group.groupby("row", sort=False):
        look = looks.get(str(row), PUBLISHED)
        line = those.assign(at=those["metric"].map(places)).sort_values("at")
        ours = row in looks
        axes.plot(
            line["at"],
            line["mean"],
            color=look.colour,
            ls=look.line if ours else "",
            marker=look.marker,
            mfc=look.colour if ours else "white",
        )
        axes.vlines(line["at"], line["low"], line["high"], color=look.colour, lw=1)
        last = line.iloc[-1]
        ends.append(Point(last["at"], last["mean"], label(str(row)), look.colour))
    axes.set_xticks(range(len(places)), [dict(curve.points)[name] for name in places])
    axes.set_xlabel(curve.along)
    unit = str(group["unit"].iloc[0])
    axes.set_title(_title(curve, group) + (f" ({unit})" if unit else ""))
    axes.yaxis.set_major_formatter(lambda value, _: number(value))
    return ends


def _title(curve: Curve, group: pd.DataFrame) -> str:
    """Return the curve's title and what sets the column apart."""
    return ", ".join(filter(None, [curve.title, str(group["variant"].iloc[0])]))
