"""Plain sentences about a leaderboard, each made from its numbers."""

from collections.abc import Iterator

import pandas as pd

from mae_bench.report.frame import NOT_MEASURED, status
from mae_bench.report.leaderboard import COLUMN, pooled_sd

EXPLANATION = (
    "Mean ± sample standard deviation over seeds, where there are two or more; n/m where only n of "
    "m seeds have a result, and then no mean. Bold: the best mean among encoders of one "
    "architecture and every mean within the pooled standard deviation over seeds of it; nothing "
    "is bold where that would be all of them. FLOPs are multiply-adds of one forward pass, counted "
    "by fvcore."
)
BASELINES = ("random_init", "supervised")


def notes(board: pd.DataFrame) -> list[str]:
    """Return a sentence for each metric and MAE row: better than the baselines, and by how much.

    Baselines are of the same architecture; gains are compared with the pooled sd over seeds. Where
    MAE has no number at all, `holes` says so.
    """
    sentences = []
    for _, group in board[board["m"] > 0].groupby(COLUMN, sort=False):
        baselines = [group[group["origin"] == origin].head(1) for origin in BASELINES]
        others = [one for part in baselines for one in _lines(part)]
        for mae in _lines(group[(group["origin"] == "mae") & (group["n"] > 0)]):
            if others:
                sentences.append(_sentence(mae, others))
    return sentences


def holes(frame: pd.DataFrame) -> list[str]:
    """Return a sentence for each row and reason that numbers are missing for."""
    absent = frame["value"].isna() & (frame["state"] != NOT_MEASURED)
    missing = frame[absent].drop_duplicates(["row", "task", "seed"])
    sentences = []
    for key, group in missing.groupby(["row", "state", "reason"], sort=False):
        row, state, reason = map(str, key)
        places = [
            f"{task} ({'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))})"
            for task, seeds in group.groupby("task", sort=False)["seed"]
        ]
        sentences.append(f"No number for {row} in {', '.join(places)}: {status(state, reason)}")
    return sentences


def doubles(frame: pd.DataFrame) -> list[str]:
    """Return a sentence for rows that have a job in common, whose number stands in each of them."""
    sentences = []
    for rows, group in _sharing(frame).items():
        tasks = ", ".join(dict.fromkeys(group))
        sentences.append(
            f"{' and '.join(rows)} share jobs in {tasks}: the same number, not another one of it."
        )
    return sentences


def _sharing(frame: pd.DataFrame) -> dict[tuple[str, ...], list[str]]:
    """Return rows that share a job -> the tasks in which they do."""
    found: dict[tuple[str, ...], list[str]] = {}
    for (_, task), group in frame.groupby(["key", "task"], sort=False):
        rows = tuple(dict.fromkeys(map(str, group["row"])))
        if len(rows) > 1:
            found.setdefault(rows, []).append(str(task))
    return found


def _sentence(mae: pd.Series, others: list[pd.Series]) -> str:
    """Return how the MAE row compares with the others in one column."""
    title = mae["title"]
    if pd.isna(mae["mean"]):
        return f"{title}: {mae['row']} has {mae['n']} of {mae['m']} seeds, so nothing is compared."
    clauses = " and ".join(_clause(mae, other) for other in others)
    beaten_by = [str(other["row"]) for other in others if not _favoured(mae, other)]
    tail = f" This column does not favour {mae['row']} over {' or '.join(beaten_by)}."
    return f"{title}: {mae['row']} is {clauses}." + (tail if beaten_by else "")


def _clause(mae: pd.Series, other: pd.Series) -> str:
    """Return the gain over another row, beside the spread over seeds."""
    if pd.isna(other["mean"]):
        return f"not compared with {other['row']} ({other['n']} of {other['m']} seeds)"
    digits, unit = int(mae["digits"]), _unit(str(mae["unit"]))
    gain, spread = _gain(mae, other), pooled_sd(mae["sd"], other["sd"])
    word = "better" if gain > 0 else "worse"
    size = f"{abs(gain):.{digits}f}"
    level = float(size) == 0.0
    text = f"level with {other['row']}" if level else f"{size}{unit} {word} than {other['row']}"
    if pd.isna(spread):
        return f"{text} (one seed, spread unknown)"
    than = "more than" if abs(gain) > spread else "within"
    return f"{text} ({than} the spread over seeds, {spread:.{digits}f})"


def _favoured(mae: pd.Series, other: pd.Series) -> bool:
    """Return whether the gain exceeds the spread over seeds; True where nothing is known."""
    if pd.isna(other["mean"]):
        return True
    spread = pooled_sd(mae["sd"], other["sd"])
    return bool(_gain(mae, other) > (0.0 if pd.isna(spread) else spread))


def _gain(mae: pd.Series, other: pd.Series) -> float:
    """Return the difference of the means, positive where MAE is better."""
    difference = float(mae["mean"] - other["mean"])
    return difference if mae["higher_is_better"] else -difference


def _unit(unit: str) -> str:
    """Return the unit of a difference, with a space before."""
    return {"": "", "%": " points"}.get(unit, f" {unit}")


def _lines(frame: pd.DataFrame) -> Iterator[pd.Series]:
    """Return the frame's lines, one after another."""
    return (line for _, line in frame.iterrows())
