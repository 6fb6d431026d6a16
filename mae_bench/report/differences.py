"""Differences of means within a column: to the baselines, and to the best."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pandas as pd

from mae_bench.report.measurement import Measurement, compared
from mae_bench.report.statistics import LEVEL, Comparison, holm

COLUMN = ["arch", "task", "variant", "metric"]
"""Rows are compared within these: one metric, one protocol, one architecture."""
BASELINES = {"delta_supervised": "supervised", "delta_random": "random_init"}
"""Column -> origin of the row that the difference is taken to."""
BASELINE_NAMES = {column: origin.replace("_", " ") for column, origin in BASELINES.items()}
"""The same for people."""
NAN = float("nan")
SETTLED = 1 - LEVEL
"""A difference with a smaller p-value is told from none."""

Measured = Sequence[Measurement | None]
"""What is known of each line's mean; None where there is no mean."""
Pair = tuple[int, int]


def to_baselines(board: pd.DataFrame, measured: Measured) -> pd.DataFrame:
    """Return each line's differences to the supervised and the random row of its column.

    Under each of `BASELINES`: the difference, its interval (_low, _high), _p and _basis. p-values
    are corrected (Holm) over all pairs of rows in the table, each pair counted once.
    """
    pairs = {column: _pairs(board, origin) for column, origin in BASELINES.items()}
    tests = _tests(dict.fromkeys(_sorted(p) for those in pairs.values() for p in those), measured)
    found = pd.DataFrame(index=board.index)
    for column, those in pairs.items():
        lines: dict[int, Comparison] = {}
        for one, base in those:
            test = tests.get(_sorted((one, base)))
            means = board["mean"].iloc[one] - board["mean"].iloc[base]
            unknown = Comparison(means, NAN, NAN, NAN, "")
            lines[one] = unknown if test is None else test if one < base else _negated(test)
        for suffix, name in _columns(column).items():
            blank = "" if name == "basis" else NAN
            values = [getattr(lines[i], name) if i in lines else blank for i in range(len(board))]
            found[suffix] = values
    return found


def best(board: pd.DataFrame, measured: Measured) -> list[bool]:
    """Return whether a mean is the best of its column, or cannot be told from the best.

    Each is compared with the best, corrected (Holm) for all pairs of the column: which mean would
    be the best was not known before, and the best is farther from the others by that choice. None
    is marked in a column in which that would mark all of them: there no row stands out.
    """
    marked = [False] * len(board)
    numbered = board.assign(place=range(len(board))).dropna(subset="mean")
    for _, group in numbered.groupby(COLUMN, sort=False):
        signed = group["mean"].where(group["higher_is_better"], -group["mean"])
        top = int(group["place"].iloc[int(signed.argmax())])
        others = [(top, int(place)) for place in group["place"] if place != top]
        tests = _tests(others, measured, len(group) * len(others) // 2)
        worse = {pair[1] for pair, test in tests.items() if test.p < SETTLED}
        if worse:
            for place in set(group["place"]) - worse:
                marked[place] = True
    return marked


def _tests(pairs: Iterable[Pair], measured: Measured, family: int = 0) -> dict[Pair, Comparison]:
    """Return pair -> its comparison with the corrected p-value, of those that can be compared.

    `family` is of how many pairs they were chosen, if of more.
    """
    raw = {}
    for one, other in pairs:
        first, second = measured[one], measured[other]
        test = None if first is None or second is None else compared(first, second)
        if test is not None:
            raw[one, other] = test
    corrected = holm([test.p for test in raw.values()], family)
    return {
        pair: replace(test, p=p) for (pair, test), p in zip(raw.items(), corrected, strict=True)
    }


def _pairs(board: pd.DataFrame, origin: str) -> list[Pair]:
    """Return the places of each line and of its baseline, where it has one and is not of it."""
    keys = list(zip(*(board[name] for name in COLUMN), strict=True))
    bases: dict[tuple[object, ...], int] = {}
    for place, (key, its) in enumerate(zip(keys, board["origin"], strict=True)):
        if its == origin:
            bases.setdefault(key, place)
    return [
        (place, bases[key])
        for place, (key, its) in enumerate(zip(keys, board["origin"], strict=True))
        if its != origin and key in bases
    ]


def _sorted(pair: Pair) -> Pair:
    """Return the pair, the line that stands first in front."""
    return min(pair), max(pair)


def _negated(test: Comparison) -> Comparison:
    """Return the other mean less the one."""
    turned = (0.0 - test.difference, 0.0 - test.high, 0.0 - test.low)  # no −0
    return Comparison(*turned, test.p, test.basis)


def _columns(name: str) -> dict[str, str]:
    """Return the board's columns of one kind of difference -> what of a comparison is in it."""
    return {
        name: "difference",
        f"{name}_low": "low",
        f"{name}_high": "high",
        f"{name}_p": "p",
        f"{name}_basis": "basis",
    }
