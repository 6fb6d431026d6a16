"""Columns of a leaderboard as panels of figures."""

from collections.abc import Iterator

import pandas as pd

from mae_bench.core.recipe import Curve
from mae_bench.core.registry import load
from mae_bench.suite.wording import one_line

COLUMN = ["task", "variant", "metric"]
MOST_ROWS = 40
"""Rows that one figure shows: with more it cannot be read."""
MOST_PANELS = 12
"""Panels of one figure; the next go into another one."""


def curve_of(task: str) -> Curve | None:
    """Return the line that a task's metrics are points of, None if it has none."""
    curve: Curve | None = getattr(load(task), "curve", None)
    return curve


def columns(lines: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the lines with a number of each column; what is a point of a curve is drawn there."""
    for _, group in lines.dropna(subset="mean").groupby(COLUMN, sort=False):
        curve = curve_of(str(group["task"].iloc[0]))
        if curve is None or group["metric"].iloc[0] not in dict(curve.points):
            yield group


def heading(group: pd.DataFrame) -> str:
    """Return the column's title with its unit, what sets it apart, and a warning where less is
    better.
    """
    one = group.iloc[0]
    title = f"{one['title']} ({one['unit']})" if one["unit"] else str(one["title"])
    parts = [title, str(one["variant"]), "" if one["higher_is_better"] else "lower is better"]
    return one_line(", ".join(filter(None, parts)))


def best_first(group: pd.DataFrame) -> pd.DataFrame:
    """Return a column's lines in the order of their numbers, the best first."""
    falling = bool(group["higher_is_better"].iloc[0])
    return group.sort_values("mean", ascending=not falling, kind="stable")


def readable(lines: pd.DataFrame) -> pd.DataFrame:
    """Return the lines of so many rows as a figure can show: those best placed in any column."""
    places = lines.dropna(subset="mean").assign(place=0)
    signed = places["mean"].where(places["higher_is_better"].astype(bool), -places["mean"])
    places["place"] = signed.groupby([places[name] for name in COLUMN]).rank(ascending=False)
    best = places.groupby("row", sort=False)["place"].min().sort_values(kind="stable")
    return lines[lines["row"].isin(best.index[:MOST_ROWS])]
