"""How two rows differ in each column, how sure that is, and what would settle it."""

import pandas as pd

from mae_bench.report.differences import COLUMN, SETTLED
from mae_bench.report.frame import NOT_MEASURED
from mae_bench.report.measurement import (
    Measurement,
    Sampled,
    compared,
    measured,
    nothing_kept,
    spread,
)
from mae_bench.report.statistics import holm, seeds_needed

ABOUT = ("task", "variant", "metric", "title", "unit", "digits", "higher_is_better")
NAN = float("nan")


def compare(
    frame: pd.DataFrame, one: str, other: str, sampled: Sampled = nothing_kept
) -> pd.DataFrame:
    """Return one line for each column that both rows have: the one's mean less the other's.

    `one_mean`, `other_mean`, `difference`; its interval `low` to `high`, its `basis` and `p`
    (corrected by Holm over the columns); whether that is `settled`; `seeds_needed` on each side to
    find the difference seen, NaN where the spread over seeds is not known or there is none, by the
    spread `sd` over `sd_of`: "seeds" of the two, or the "floor". A mean is blank unless all its
    seeds are there. The sizes of the two encoders may differ.
    """
    columns = [name for name in COLUMN if name != "arch"]
    sides = []
    for row in (one, other):
        cells = frame[frame["row"] == row].groupby(columns, sort=False)
        sides.append({key: _known(lines, sampled) for key, lines in cells})
    first, second = sides
    titles = frame.drop_duplicates(columns).to_dict("records")
    about = {
        tuple(one[name] for name in columns): {name: one[name] for name in ABOUT} for one in titles
    }
    lines = []
    for key in (key for key in first if key in second):
        lines.append(about[key] | _line(first[key], second[key]))
    found = pd.DataFrame.from_records(lines)
    if found.empty:
        return found
    tested = found["p"].notna()
    found.loc[tested, "p"] = holm(list(found.loc[tested, "p"]))
    return found.assign(settled=found["p"] < SETTLED)


def _known(lines: pd.DataFrame, sampled: Sampled) -> Measurement | None:
    """Return what is known of a cell; None unless all its seeds have a number.

    Those of which it was not to be measured do not count, as in the leaderboard.
    """
    lines = lines[lines["state"] != NOT_MEASURED]
    return None if lines.empty or lines["value"].isna().any() else measured(lines, sampled)


def _line(one: Measurement | None, other: Measurement | None) -> dict[str, object]:
    """Return the comparison of two cells, p not corrected yet."""
    means = [NAN if side is None else side.mean for side in (one, other)]
    test, sd, sd_of, needed = None, None, "", None
    if one is not None and other is not None:
        test = compared(one, other)
        sd, sd_of = spread(one, other)
        needed = None if sd is None else seeds_needed(means[0] - means[1], sd)
    return {
        "one_mean": means[0],
        "other_mean": means[1],
        "difference": means[0] - means[1],
        "low": NAN if test is None else test.low,
        "high": NAN if test is None else test.high,
        "basis": "" if test is None else test.basis,
        "p": NAN if test is None else test.p,
        "seeds_needed": NAN if needed is None else float(needed),
        "sd": NAN if sd is None else sd,
        "sd_of": sd_of,
    }
