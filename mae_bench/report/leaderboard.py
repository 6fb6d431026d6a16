"""The long table summed up: a line for each row, task, variant and metric."""

import pandas as pd

from mae_bench.report.differences import best, to_baselines
from mae_bench.report.frame import NOT_MEASURED, status
from mae_bench.report.measurement import Measurement, Sampled, interval, measured, nothing_kept

GROUP = ["row", "task", "variant", "metric"]
"""A cell: one line of the board."""


def leaderboard(frame: pd.DataFrame, sampled: Sampled = nothing_kept) -> pd.DataFrame:
    """Return each cell's mean, how sure it is, and its differences, in the frame's order.

    `frame` is a long table, as `load_results` gives. A mean is blank (NaN) unless all m seeds are
    there; a number that is not measured counts neither as there nor as missing. The interval is
    over seeds where there are several, else over test images if `sampled` finds what jobs kept of
    them, widened by a published spread over seeds where one is known. Differences are to the
    supervised and the random row of the same architecture, and `best` marks what cannot be told
    from the best. docs/statistics.md has the formulas.

    >>> from mae_bench.report.results import load_results
    >>> board = leaderboard(load_results("runs"))
    >>> probe = board[board["task"] == "imagenet_linear"].set_index("row")
    >>> probe[["mean", "low", "high", "delta_random"]].round(1).loc["MAE"].to_dict()
    {'mean': 61.5, 'low': 42.4, 'high': 80.6, 'delta_random': 29.5}
    >>> probe["best"].to_dict()
    {'MAE': False, 'Rand': False, 'Sup': False}
    """
    board = _summed(frame)
    known = _measurements(frame, board, sampled)
    intervals = [None if one is None else interval(one) for one in known]
    for name in ("low", "high"):
        board[name] = [float("nan") if one is None else getattr(one, name) for one in intervals]
    board["basis"] = ["" if one is None else one.basis for one in intervals]
    return pd.concat([board, to_baselines(board, known)], axis=1).assign(best=best(board, known))


def _summed(frame: pd.DataFrame) -> pd.DataFrame:
    """Return each cell's mean, sample sd, n of m seeds, cost, stamp, jobs and holes."""
    groups = frame.assign(why=_why(frame)).groupby(GROUP, sort=False)
    about = ["arch", "origin", "title", "unit", "higher_is_better", "digits", "protocol"]
    board = groups[about].first()
    board["n"] = groups["value"].count()
    board["m"] = groups["state"].agg(lambda states: (states != NOT_MEASURED).sum())
    whole = board["n"] == board["m"]
    board["mean"] = groups["value"].mean().where(whole)
    board["sd"] = groups["value"].std(ddof=1).where(whole)
    board["seconds"] = groups["seconds"].sum(min_count=1)
    board["keys"] = groups["key"].agg(" ".join)
    for name in ("why", "fidelity"):
        board[name] = groups[name].agg(lambda texts: "; ".join(sorted(set(texts) - {""})))
    for name in ("gpu_hours", "encoder_gpu_hours"):
        board[name] = groups[name].mean()
    for name in ("device", "encoder_epochs", "params", "flops"):
        board[name] = groups[name].first()
    return board.reset_index()


def _measurements(
    frame: pd.DataFrame, board: pd.DataFrame, sampled: Sampled
) -> list[Measurement | None]:
    """Return what is known of each line's mean, None where it has none."""
    cells = dict(iter(frame[frame["value"].notna()].groupby(GROUP, sort=False)))
    keys = zip(*(board[name] for name in GROUP), strict=True)
    return [
        None if pd.isna(mean) else measured(cells[key], sampled)
        for key, mean in zip(keys, board["mean"], strict=True)
    ]


def _why(frame: pd.DataFrame) -> list[str]:
    """Return for each line why it has no value; empty where it has one."""
    lines = zip(frame["value"].isna(), frame["state"], frame["reason"], strict=True)
    return [status(state, reason) if absent else "" for absent, state, reason in lines]
