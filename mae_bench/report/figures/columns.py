"""Columns of a leaderboard as panels of figures."""

from collections.abc import Iterable, Iterator

import pandas as pd

from mae_bench.core.recipe import Curve
from mae_bench.core.registry import load
from mae_bench.report.rows import OF_COLUMN
from mae_bench.suite.wording import one_line

MOST_ROWS = 40
"""Rows that one figure shows: with more it cannot be read."""
MOST_PANELS, MOST_NUMBERS = 12, 60
"""Of one figure; the rest goes into another one. Two panels stay together whatever they hold."""


def curve_of(task: str) -> Curve | None:
    """Return the line that a task's metrics are points of, None if it has none."""
    curve: Curve | None = getattr(load(task), "curve", None)
    return curve


def columns(lines: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the lines with a number of each column; what is a point of a curve is drawn there."""
    for _, group in lines.dropna(subset="mean").groupby(OF_COLUMN, sort=False):
        curve = curve_of(str(group["task"].iloc[0]))
        if curve is None or group["metric"].iloc[0] not in dict(curve.points):
            yield group


def sheets(name: str, groups: Iterable[pd.DataFrame]) -> dict[str, list[pd.DataFrame]]:
    """Return file name -> its columns: one figure of that name, further ones numbered."""
    found: list[list[pd.DataFrame]] = []
    for group in groups:
        last = found[-1] if found else []
        full = len(last) == MOST_PANELS or sum(map(_named, [*last, group])) > MOST_NUMBERS
        if not found or (full and len(last) >= 2):
            found.append([])
        found[-1].append(group)
    return {name + (f"-{place + 1}" if place else ""): part for place, part in enumerate(found)}


def _named(group: pd.DataFrame) -> int:
    """Return how many numbers of a column are ours: others' have no name or text in a figure."""
    return int((group["kind"] == "ours").sum()) if "kind" in group else len(group)


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
    """Return the lines of so many rows as a figure can show: ours, those best placed in any column
    first, and then others'.
    """
    places = lines.dropna(subset="mean")
    signed = places["mean"].where(places["higher_is_better"].astype(bool), -places["mean"])
    ranks = signed.groupby([places[name] for name in OF_COLUMN]).rank(ascending=False)
    theirs = 1e9 * (places["kind"] != "ours") if "kind" in places else 0.0
    best = (ranks + theirs).groupby(places["row"], sort=False).min().sort_values(kind="stable")
    return lines[lines["row"].isin(best.index[:MOST_ROWS])]


def left_out(lines: pd.DataFrame) -> str:
    """Return a sentence for a caption on rows that `readable` leaves out, empty if it has all."""
    rows = lines.dropna(subset="mean")["row"].nunique()
    if rows <= MOST_ROWS:
        return ""
    return f" Shown are {MOST_ROWS} of {rows:,} rows: ours, and those best placed in any column."
