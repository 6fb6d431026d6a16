"""Whether columns rank encoders alike: between protocols, and between tiers of one suite."""

from collections.abc import Iterable
from itertools import combinations, product

import pandas as pd

from mae_bench.report.frame import long_frame
from mae_bench.report.leaderboard import leaderboard
from mae_bench.report.rows import OF_COLUMN, column_id
from mae_bench.report.statistics import kendall, spearman
from mae_bench.suite.plan import Plan
from mae_bench.suite.store import Store
from mae_bench.suite.tiers import other_tiers

COLUMNS = ("one", "other", "n", "spearman", "kendall", "p")
Column = tuple[str, ...]
"""Values of `OF_COLUMN`."""
Named = tuple[str, pd.Series]
"""A column's name, and its means by row."""


def rank_agreement(board: pd.DataFrame) -> pd.DataFrame:
    """Return how far each two columns of a board agree in how they rank the rows that have both.

    `one` and `other` are columns, n the rows, `spearman` and `kendall` (tau-b) lie in [-1, 1], and
    p is that of Kendall's: how often chance alone agrees or disagrees as much. The better rank
    first, whether higher or lower numbers are better. Pairs of fewer than three rows, or with a
    column in which all rows are the same, are left out.
    """
    named = [(_id(column), ranks) for column, ranks in _columns(board).items()]
    return _frame(combinations(named, 2))


def agreements(board: pd.DataFrame, plan: Plan, store: Store) -> pd.DataFrame:
    """Return the agreement of a suite's columns, and of each with itself at the other tiers.

    A column of another tier has the tier behind its name; only those with numbers are there.
    """
    found = [rank_agreement(board)]
    for other in other_tiers(plan):
        assert other.suite is not None
        frame = long_frame(other, store)
        if frame["value"].notna().any():
            found.append(tier_agreement(board, leaderboard(frame), other.suite.tier))
    return pd.concat(found, ignore_index=True) if len(found) > 1 else found[0]


def tier_agreement(board: pd.DataFrame, other: pd.DataFrame, tier: str) -> pd.DataFrame:
    """Return how far columns agree with the same task and metric in the board of another tier."""
    pairs = product(_columns(board).items(), _columns(other).items())
    return _frame(
        ((_id(one), ranks), (f"{_id(its)} ({tier})", others))
        for (one, ranks), (its, others) in pairs
        if (one[0], one[2]) == (its[0], its[2])
    )


def _id(column: Column) -> str:
    """Return the name of a column, as leaderboard.json has it."""
    return column_id(dict(zip(OF_COLUMN, column, strict=True)))


def _columns(board: pd.DataFrame) -> dict[Column, pd.Series]:
    """Return each column's means by row, the better the higher."""
    found = {}
    for column, group in board.dropna(subset="mean").groupby(OF_COLUMN, sort=False):
        signed = group["mean"].where(group["higher_is_better"], -group["mean"])
        found[tuple(map(str, column))] = signed.set_axis(group["row"])
    return found


def _frame(pairs: Iterable[tuple[Named, Named]]) -> pd.DataFrame:
    """Return one line for each pair of columns that share enough rows."""
    lines = []
    for (name, one), (its, other) in pairs:
        rows = [row for row in one.index if row in other.index]
        first, second = (list(map(float, values[rows])) for values in (one, other))
        rho, tau = spearman(first, second), kendall(first, second)
        if rho is not None and tau is not None:
            lines.append((name, its, len(rows), rho.value, tau.value, tau.p))
    return pd.DataFrame.from_records(lines, columns=list(COLUMNS))
