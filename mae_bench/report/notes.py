"""Plain sentences about a leaderboard, each made from its numbers."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import pandas as pd

from mae_bench.report.differences import BASELINES, COLUMN, SETTLED
from mae_bench.report.frame import NOT_MEASURED, status
from mae_bench.report.leaderboard import GROUP
from mae_bench.report.measurement import Sampled
from mae_bench.report.noise import floor
from mae_bench.report.per_image import Refusal
from mae_bench.report.table import signed

EXPLANATION = (
    "Mean ± sample standard deviation over seeds, where there are two or more; n/m where only n of "
    "m seeds have a result, and then no mean. Bold: the best mean among encoders of one "
    "architecture, and every mean that no test at 5 % tells from it (Holm's correction for all "
    "pairs of the column); nothing is bold where that would be all of them. Intervals hold 95 %; "
    "differences to the baselines are corrected for being so many (Holm, over the table). How each "
    "is found, and what it does not cover: docs/statistics.md. FLOPs are multiply-adds of one "
    "forward pass, counted by fvcore."
)
Line = pd.Series | Mapping[Hashable, Any]
BASES = {
    "seeds": "over seeds",
    "images": "over test images, which says nothing of other seeds,",
    "images + floor": "over test images and a published spread over seeds",
    "floor": "by a published spread over seeds alone",
    "": "not known, with one seed and nothing kept of each image,",
}
"""What an interval comes from, for people."""
NOT_APART = "not told apart"
ONCE_CORRECTED = "apart by itself, but not once corrected for being one of so many comparisons,"
TALLIES = ("better", "worse", ONCE_CORRECTED, NOT_APART, "nothing to judge by", "not compared")


def notes(board: pd.DataFrame) -> list[str]:
    """Return how each MAE row stands against each baseline, and what intervals come from.

    Baselines are of the same architecture. Where MAE has no number at all, `holes` says so.
    """
    sentences = []
    board = headed(board)
    mine = board[(board["origin"] == "mae") & (board["n"] > 0)]
    for row, lines in mine.groupby("row", sort=False):
        for column, origin in BASELINES.items():
            found = list(_verdicts(lines, column, board[board["origin"] == origin]))
            bases = list(dict.fromkeys(base for base, _, _ in found))
            for base in bases:
                parts = [(tally, text) for its, tally, text in found if its == base]
                sentences.append(f"{row} against {base}: {tallied(parts)}.")
    return [*sentences, *_grounds(board)]


def tallied(parts: list[tuple[str, str]]) -> str:
    """Return pairs of a tally and a column's text as clauses, one for each tally."""
    texts: dict[str, list[str]] = defaultdict(list)
    for tally, text in parts:
        texts[tally].append(text)
    return "; ".join(f"{tally} in {', '.join(texts[tally])}" for tally in TALLIES if tally in texts)


def tally(difference: float, p: float, higher_is_better: bool) -> str:
    """Return which of `TALLIES` a difference is: settled, not told apart, or nothing to tell."""
    if pd.isna(p):
        return "nothing to judge by"
    if p >= SETTLED:
        return NOT_APART
    return "better" if (difference > 0) == higher_is_better else "worse"


def difference_text(line: Line, name: str) -> str:
    """Return the difference under that name of the line, with its interval if it has one."""
    names = [name, f"{name}_low", f"{name}_high"]
    size, *ends = [signed(float(line[one]), int(line["digits"])) for one in names]
    between = f", {' to '.join(ends)}" if all(ends) else ""
    return f"{line['heading']} ({size}{_unit(str(line['unit']))}{between})"


def headed(board: pd.DataFrame) -> pd.DataFrame:
    """Return the board with each line's `heading`: its title, and what tells columns apart by it.

    That is the variant, where the table has several of one task's metric.
    """
    several = board.groupby(["task", "metric"])["variant"].transform("nunique") > 1
    texts = board["title"] + " at " + board["variant"].where(board["variant"] != "", "its usual")
    return board.assign(heading=board["title"].where(~several, texts))


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


def doubts(frame: pd.DataFrame, sampled: Sampled) -> list[str]:
    """Return a sentence for each number that does not come out again of what its job kept.

    The number stays, but has no interval over images. Only what such an interval would be made of
    is looked at; `mae-bench verify` looks at all.
    """
    sentences = []
    several = frame.groupby(GROUP)["value"].transform("nunique") > 1
    looked = frame[frame["value"].notna() & (frame["per_image"] != "") & ~several]
    for line in looked.drop_duplicates(["key", "metric"]).to_dict("records"):
        found = sampled(line["key"], line["per_image"], line["metric"], line["value"])
        if isinstance(found, Refusal):
            place = f"{line['row']} in {line['task']} (seed {line['seed']}, job {line['key']})"
            sentences.append(f"Doubtful: {place}: {found.reason}; see `mae-bench verify`.")
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


def _verdicts(
    lines: pd.DataFrame, column: str, baselines: pd.DataFrame
) -> Iterator[tuple[str, str, str]]:
    """Yield baseline, tally and text of each of a row's lines that has a baseline."""
    bases = baselines.drop_duplicates(COLUMN).set_index(COLUMN)
    for line in _lines(lines):
        place = tuple(line[name] for name in COLUMN)
        if place not in bases.index:
            continue
        base = bases.loc[place]
        short = next((one for one in (line, base) if pd.isna(one["mean"])), None)
        if base["m"] == 0 or line["m"] == 0:
            continue
        if short is not None:
            whose = line["row"] if short is line else base["row"]
            text = f"{line['heading']} ({whose} has {short['n']} of {short['m']} seeds)"
            yield str(base["row"]), "not compared", text
        else:
            kind = tally(line[column], line[f"{column}_p"], bool(line["higher_is_better"]))
            if kind == NOT_APART and line[f"{column}_low"] * line[f"{column}_high"] > 0:
                kind = ONCE_CORRECTED  # the interval beside it does not hold 0
            yield str(base["row"]), kind, difference_text(line, column)


def _grounds(board: pd.DataFrame) -> Iterator[str]:
    """Yield what intervals come from, and who found each spread over seeds that is used."""
    counts = Counter(board[board["mean"].notna()]["basis"])
    parts = [f"{text} for {counts[basis]}" for basis, text in BASES.items() if counts[basis]]
    if parts:
        yield f"Intervals of the means: {'; '.join(parts)}."
    used = board[board["basis"].str.endswith("floor")]
    found: dict[str, list[str]] = defaultdict(list)
    for one in _lines(used.drop_duplicates(COLUMN)):
        known = floor(str(one["protocol"]), str(one["metric"]), str(one["arch"]))
        if known is not None:
            found[known.source].append(f"{known.sd:g} for {one['heading']} of {one['arch']}")
    for source, uses in found.items():
        yield f"Published spread over seeds (sd): {', '.join(uses)}; {source}."


def _unit(unit: str) -> str:
    """Return the unit of a difference, with a space before."""
    return {"": "", "%": " points"}.get(unit, f" {unit}")


def _lines(frame: pd.DataFrame) -> Iterator[pd.Series]:
    """Return the frame's lines, one after another."""
    return (line for _, line in frame.iterrows())
