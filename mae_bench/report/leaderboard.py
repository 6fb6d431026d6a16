"""The long table summed up: a line for each row, task and metric."""

import pandas as pd

GROUP = ["row", "task", "metric"]
BASELINES = {"delta_supervised": "supervised", "delta_random": "random_init"}
"""Column -> origin of the row that the difference is taken to."""


def leaderboard(frame: pd.DataFrame) -> pd.DataFrame:
    """Return mean, sample sd, n of m seeds and differences, in the frame's order.

    The mean is blank (NaN) unless every seed is there; the sd needs two. Differences are to the
    supervised and the random row of the same architecture. `best` marks the best mean of an
    architecture and all means that lie within the pooled sd over seeds of it.
    """
    first = frame.groupby(GROUP, sort=False).first()
    board = first[["arch", "origin", "title", "unit", "higher_is_better", "digits"]].copy()
    groups = frame.groupby(GROUP, sort=False)
    board["n"] = groups["value"].count()
    board["m"] = groups["value"].size()
    whole = board["n"] == board["m"]
    board["mean"] = groups["value"].mean().where(whole)
    board["sd"] = groups["value"].std(ddof=1).where(whole)
    board["keys"] = groups["key"].agg(" ".join)
    board["states"] = groups["state"].agg(lambda states: "; ".join(sorted(set(states) - {"done"})))
    board["params"] = groups["params"].max()
    board["flops"] = groups["flops"].max()
    board = board.reset_index()
    for column, origin in BASELINES.items():
        board[column] = _difference(board, origin)
    board["best"] = _best(board)
    return board


def _difference(board: pd.DataFrame, origin: str) -> pd.Series:
    """Return each mean less the mean of the row of that origin and the same architecture."""
    places = ["arch", "task", "metric"]
    base = board[board["origin"] == origin].drop_duplicates(places)
    merged = board.merge(base[[*places, "mean"]], on=places, how="left", suffixes=("", "_base"))
    difference = merged["mean"] - merged["mean_base"]
    return difference.where(merged["origin"] != origin)


def _best(board: pd.DataFrame) -> pd.Series:
    """Return whether a mean is the best of its architecture, or within the pooled sd of it."""
    sign = board["higher_is_better"].map({True: 1.0, False: -1.0})
    signed = board["mean"] * sign
    groups = [board["arch"], board["task"], board["metric"]]
    top = signed.groupby(groups).transform("max")
    is_top = signed.notna() & (signed == top)
    top_sd = board["sd"].where(is_top).groupby(groups).transform("max")
    pooled = ((board["sd"] ** 2 + top_sd**2) / 2) ** 0.5
    return is_top | ((top - signed) <= pooled)


def notes(board: pd.DataFrame) -> list[str]:
    """Return a sentence for each column and architecture: does MAE beat random init, and by what.

    With two seeds or more the gain is compared with the pooled sd over seeds.
    """
    sentences = []
    scored = board.dropna(subset="mean")
    for (_, _, title), group in scored.groupby(["arch", "task", "title"], sort=False):
        maes = group[group["origin"] == "mae"]
        if maes.empty or maes["delta_random"].isna().all():
            continue
        mae, base = maes.iloc[0], group[group["origin"] == "random_init"].iloc[0]
        gain = mae["delta_random"] if mae["higher_is_better"] else -mae["delta_random"]
        spread = ((mae["sd"] ** 2 + base["sd"] ** 2) / 2) ** 0.5
        digits, unit = int(mae["digits"]), str(mae["unit"]).replace("%", " points")
        found = f"{title}: {mae['row']} is {abs(gain):.{digits}f}{unit} "
        found += "above" if gain > 0 else "below" if gain < 0 else "from"
        found += f" {base['row']}"
        if pd.isna(spread):
            found += " (one seed: the spread over seeds is not known)."
        elif gain > spread:
            found += f", more than the spread over seeds ({spread:.{digits}f})."
        else:
            found += f"; this column does not favour it (spread over seeds {spread:.{digits}f})."
        sentences.append(found)
    return sentences
