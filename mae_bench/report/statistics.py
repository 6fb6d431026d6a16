"""How sure a number is: intervals and tests, on plain numbers; docs/statistics.md explains them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

from scipy.special import stdtr, stdtrit

LEVEL = 0.95
Basis = Literal["", "seeds", "images", "images + floor", "floor"]
"""What an interval comes from: other seeds, other test images, a published spread over seeds."""


@dataclass(frozen=True)
class Interval:
    """Where a mean lies at `LEVEL`, and what that is known from."""

    low: float
    high: float
    basis: Basis


@dataclass(frozen=True)
class Comparison:
    """One mean less another, its interval at `LEVEL`, and the p-value of no difference."""

    difference: float
    low: float
    high: float
    p: float
    basis: Basis


def t_interval(values: Sequence[float]) -> Interval | None:
    """Return Student's interval of the mean of independent values; None for fewer than two."""
    if len(values) < 2:
        return None
    half = float(stdtrit(len(values) - 1, (1 + LEVEL) / 2)) * stdev(values) / len(values) ** 0.5
    mean = fmean(values)
    return Interval(mean - half, mean + half, "seeds")


def welch(one: Sequence[float], other: Sequence[float]) -> Comparison | None:
    """Return Welch's test of two means (Welch 1947); None unless both have two values.

    Without any spread the interval is a point, and p is 1 for equal means and else 0.
    """
    if len(one) < 2 or len(other) < 2:
        return None
    parts = [stdev(values) ** 2 / len(values) for values in (one, other)]
    difference, variance = fmean(one) - fmean(other), sum(parts)
    if variance == 0.0:
        return Comparison(difference, difference, difference, float(difference == 0.0), "seeds")
    counts = (len(one), len(other))
    freedom = variance**2 / sum(v**2 / (n - 1) for v, n in zip(parts, counts, strict=True))
    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * math.sqrt(variance)
    p = 2 * float(stdtr(freedom, -abs(difference) / math.sqrt(variance)))
    return Comparison(difference, difference - half, difference + half, p, "seeds")


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values corrected for being so many (Holm 1979), in their order."""
    count, worst = len(p_values), 0.0
    corrected = [0.0] * count
    for rank, place in enumerate(sorted(range(count), key=lambda index: p_values[index])):
        worst = max(worst, min(1.0, (count - rank) * p_values[place]))
        corrected[place] = worst
    return corrected
