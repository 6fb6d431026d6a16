"""The loss of each pretraining over its epochs: a panel for each objective, a line for each job."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from mae_bench.core.job import Job
from mae_bench.core.registry import OBJECTIVES
from mae_bench.kit.loss_figure import LOG_ABOVE, read_run
from mae_bench.report.figures.figure import Figure
from mae_bench.report.figures.labels import Point, name_ends
from mae_bench.report.figures.style import Look, Room, label, number, panels, sheet, write
from mae_bench.suite.plan import Plan
from mae_bench.suite.store import Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = "losses"
CAPTION = (
    "The loss of each pretraining, each objective by itself since losses of different ones cannot "
    "be compared; a thin line is another seed."
)
HIGH, AXIS = 2.6, 0.2
BINS = 200
"""Points of a line at most; each is the mean over its part of the epochs."""
MOST_LINES = 24
"""Of one objective, the first in the order of the rows."""


@dataclass(frozen=True)
class Line:
    """One pretraining's loss, thinned."""

    job: Job
    epochs: Sequence[float]
    losses: Sequence[float]


def losses(plan: Plan, store: Store, looks: Mapping[str, Look], folder: Path) -> list[Figure]:
    """Draw the losses that finished pretraining jobs logged."""
    shown: dict[str, list[Line]] = {}
    for job in plan.jobs:
        known = shown.setdefault(job.recipe.name, [])
        if job.recipe.name in OBJECTIVES and len(known) < MOST_LINES and store.result(job):
            known += _line(job, store.dir(job))
    shown = {objective: lines for objective, lines in shown.items() if lines}
    if not shown:
        return []
    with sheet(HIGH * len(shown) + AXIS) as figure:
        grid = panels(figure, len(shown), Room(1, HIGH))
        points = [
            _panel(axes, objective, lines, looks)
            for axes, (objective, lines) in zip(grid, shown.items(), strict=True)
        ]
        grid[-1].set_xlabel("epoch")
        for axes, those in zip(grid, points, strict=True):
            name_ends(axes, those, 0.0)
        data = pd.concat([_data(line) for lines in shown.values() for line in lines])
        return [Figure(NAME, CAPTION, write(figure, folder / NAME, data))]


def _line(job: Job, folder: Path) -> list[Line]:
    """Return the job's line, none if it logged no loss."""
    pairs = [
        (float(one["epoch"]), float(one["loss"]))
        for one in read_run(folder)
        if pd.notna(one.get("epoch")) and pd.notna(one["loss"])
    ]
    if not pairs:
        return []
    width = max(epoch for epoch, _ in pairs) / BINS if len(pairs) > BINS else 0.0
    bins: dict[float, list[tuple[float, float]]] = {}
    for pair in pairs:
        bins.setdefault(pair[0] // width if width else pair[0], []).append(pair)
    means = [tuple(map(_mean, zip(*part, strict=True))) for part in bins.values()]
    epochs, values = zip(*means, strict=True)
    return [Line(job, epochs, values)]


def _mean(values: Sequence[float]) -> float:
    """Return the mean."""
    return sum(values) / len(values)


def _panel(
    axes: "Axes", objective: str, lines: Sequence[Line], looks: Mapping[str, Look]
) -> list[Point]:
    """Draw one objective's lines; return the point at which each row is named."""
    ends: dict[str, Point] = {}
    for line in lines:
        row = line.job.row
        look = looks[row]
        again = row in ends
        few = len(line.epochs) < 12
        axes.plot(
            line.epochs,
            line.losses,
            color=look.colour,
            ls=look.line,
            lw=0.8 if again else 1.6,
            marker=look.marker if few else "",
            ms=3,
        )
        ends.setdefault(row, Point(line.epochs[-1], line.losses[-1], label(row), look.colour))
    every = [loss for line in lines for loss in line.losses]
    if min(every) > 0 and max(every) / min(every) > LOG_ABOVE:
        axes.set_yscale("log")
    axes.set_title(f"{objective}: training loss")
    axes.locator_params(axis="x", nbins=7)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: number(value))
    return list(ends.values())


def _data(line: Line) -> pd.DataFrame:
    """Return the line as data."""
    about = {"row": line.job.row, "objective": line.job.recipe.name, "seed": line.job.seed}
    return pd.DataFrame({**about, "key": line.job.key, "epoch": line.epochs, "loss": line.losses})
