"""The long table summed up: a line for each row, task and metric."""

import pandas as pd

from mae_bench.report.frame import NOT_MEASURED, status
from mae_bench.report.statistics import t_interval

GROUP = ["row", "task", "variant", "metric"]
COLUMN = ["arch", "task", "variant", "metric"]
"""Rows are compared within these: one metric, one architecture."""
BASELINES = {"delta_supervised": "supervised", "delta_random": "random_init"}
"""Column -> origin of the row that the difference is taken to."""


def leaderboard(frame: pd.DataFrame) -> pd.DataFrame:
    """Return mean, sample sd, n of m seeds and differences, in the frame's order.

    The mean is blank (NaN) unless every seed is there; the sd needs two. Differences are to the
    supervised and the random row of the same architecture. `best` marks the best mean of an
    architecture and all means within the pooled sd of it, unless that would mark all of them.
    A number that is not measured counts neither as there nor as missing.
    """
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
    board["why"] = groups["why"].agg(lambda texts: "; ".join(sorted(set(texts) - {""})))
    for name in ("gpu_hours", "encoder_gpu_hours"):
        board[name] = groups[name].mean()
    for name in ("device", "encoder_epochs", "params", "flops"):
        board[name] = groups[name].first()
    board["fidelity"] = groups["fidelity"].agg(lambda texts: "; ".join(sorted(set(texts) - {""})))
    whole_cells = list(whole)
    board = board.reset_index()
    counted = frame[frame["state"] != NOT_MEASURED]
    values = {key: list(group["value"]) for key, group in counted.groupby(GROUP, sort=False)}
    there = zip(zip(*(board[n] for n in GROUP), strict=True), whole_cells, strict=True)
    intervals = [t_interval(values.get(key, [])) if is_whole else None for key, is_whole in there]
    for name in ("low", "high"):
        board[name] = [getattr(one, name, float("nan")) for one in intervals]
    board["basis"] = [getattr(one, "basis", "") for one in intervals]
    for column, origin in BASELINES.items():
        board[column] = _difference(board, origin)
        for name in ("low", "high", "p"):
            board[f"{column}_{name}"] = float("nan")
        board[f"{column}_basis"] = ""
    board["best"] = _best(board)
    return board


def pooled_sd(one: float, other: float) -> float:
    """Return the root of the mean of the variances that are known; NaN if neither is."""
    known = [sd**2 for sd in (one, other) if not pd.isna(sd)]
    return (sum(known) / len(known)) ** 0.5 if known else float("nan")


def _why(frame: pd.DataFrame) -> list[str]:
    """Return for each line why it has no value; empty where it has one."""
    lines = zip(frame["value"].isna(), frame["state"], frame["reason"], strict=True)
    return [status(state, reason) if absent else "" for absent, state, reason in lines]


def _difference(board: pd.DataFrame, origin: str) -> pd.Series:
    """Return each mean less the mean of the row of that origin and the same architecture."""
    base = board[board["origin"] == origin].drop_duplicates(COLUMN)
    merged = board.merge(base[[*COLUMN, "mean"]], on=COLUMN, how="left", suffixes=("", "_base"))
    difference = merged["mean"] - merged["mean_base"]
    return difference.where(merged["origin"] != origin)


def _best(board: pd.DataFrame) -> pd.Series:
    """Return whether a mean is told apart as the best, or as no worse than it by the pooled sd."""
    marked = pd.Series(False, index=board.index)
    for _, group in board.dropna(subset="mean").groupby(COLUMN, sort=False):
        signed = list(group["mean"].where(group["higher_is_better"], -group["mean"]))
        spreads = list(group["sd"])
        top = signed.index(max(signed))
        near = [
            value == signed[top] or signed[top] - value <= pooled_sd(sd, spreads[top])
            for value, sd in zip(signed, spreads, strict=True)
        ]
        if not all(near):
            marked.loc[group.index[near]] = True
    return marked
