"""The picture of a task's classes: a bar each, the best first."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mae_bench.kit.figures import write_plot

COLOUR, TEXT, GREY, SOFT = "#1f6f8b", "#1e1e1e", "#8a8a8a", "#e6e6e6"
ROWS = 42
"""Bars in a column, so that 80 classes take two and 150 take four."""
COLUMNS = 4
LONGEST = 22
"""Letters of a class name."""


def class_figure(path: Path, metric: str, per_class: Mapping[str, float | None]) -> None:
    """Draw the classes' percentages, sorted; None is a class that does not occur."""
    ranking = ranked(per_class)
    found = [value for _, value in ranking if value is not None]
    if not ranking:
        raise ValueError("there are no classes to draw")
    columns = min(COLUMNS, -(-len(ranking) // ROWS))
    rows = -(-len(ranking) // columns)
    size = (max(6.0, 4.0 * min(columns, 2), 2.7 * columns), 0.9 + 0.155 * rows)
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    mean = float(np.mean(found)) if found else None
    average = "" if mean is None else f", mean {mean:.1f}"
    figure.suptitle(f"{metric} of each class, %{average}", x=0.01, ha="left", fontsize=10)
    all_axes = figure.subplots(1, columns, squeeze=False)[0]
    for column, axes in enumerate(all_axes):
        _bars(axes, ranking[column * rows : (column + 1) * rows], rows, mean)
    absent = len(ranking) - len(found)
    missing = f"; {absent} of them do not occur" if absent else ""
    write_plot(path, figure, f"{metric} of each of the {len(ranking)} classes, best first{missing}")


def ranked(per_class: Mapping[str, float | None]) -> list[tuple[str, float | None]]:
    """Return the classes, the best first and those that do not occur last."""
    worst = float("-inf")
    return sorted(per_class.items(), key=lambda one: -(worst if one[1] is None else one[1]))


def _bars(axes: Any, part: list[tuple[str, float | None]], rows: int, mean: float | None) -> None:
    """Draw one column of the ranking."""
    for row, (_, value) in enumerate(part):
        if value is None:
            axes.text(
                1, row, "does not occur", va="center", fontsize=6.5, color=GREY, style="italic"
            )
            continue
        axes.barh(row, value, height=0.72, color=COLOUR)
        inside = value > 80
        axes.text(
            value - 1 if inside else value + 1,
            row,
            f"{value:.1f}",
            ha="right" if inside else "left",
            va="center",
            fontsize=6.5,
            color="white" if inside else TEXT,
            bbox={"facecolor": COLOUR if inside else "white", "linewidth": 0, "pad": 0.6},
        )
    if mean is not None:
        axes.axvline(mean, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    axes.set_yticks(range(len(part)), [_short(name) for name, _ in part], fontsize=7)
    axes.set_ylim(rows - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.tick_params(axis="x", labelsize=7, color=GREY)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=SOFT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(GREY)


def _short(name: str) -> str:
    """Return the name, cut to a length that leaves room for the bars."""
    name = name.replace("$", r"\$")  # a formula to matplotlib
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
