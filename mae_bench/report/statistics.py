"""How sure a number is: intervals and tests, on plain numbers; docs/statistics.md explains them."""

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import nctdtr, ndtr, ndtri, stdtr, stdtrit

LEVEL = 0.95
POWER = 0.8
"""How often so many seeds find the difference that is there."""
LEAST_P = 1e-6
"""Of replicates: farther out nobody knows that their tail is normal."""
CLEAR = 100.0
"""Standard deviations that two seeds tell apart; of many more the noncentral t cannot be had."""
NOISE_SEED = 20_211_111
"""Of the normal noise and the permutations, so that the same numbers give the same bytes."""
EXACT = 7
"""Most pairs whose every order is tried: 5040 of them; of more, as many as `DRAWS`."""
DRAWS = 1_999
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


@dataclass(frozen=True)
class Replicates:
    """A metric of one job, and the same metric on samples of its test images."""

    value: float
    """On the images as they are."""
    values: NDArray[np.float64]
    """On each sample; the b-th samples of all jobs with the same `images` are the same."""
    images: str
    """A hash of the test images and their truth."""


@dataclass(frozen=True)
class Correlation:
    """How far two orders agree, in [-1, 1], and the p-value of no agreement."""

    value: float
    p: float


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


def holm(p_values: Sequence[float], family: int = 0) -> list[float]:
    """Return the p-values corrected for being so many (Holm 1979), in their order.

    `family` is of how many tests they were chosen, where those are more: never less than Holm's
    correction of all of them, since none of these can have a lower rank there.
    """
    count, worst = max(family, len(p_values)), 0.0
    corrected = [0.0] * len(p_values)
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        worst = max(worst, min(1.0, (count - rank) * p_values[place]))
        corrected[place] = worst
    return corrected


def image_interval(one: Replicates, floor_sd: float | None = None) -> Interval:
    """Return the percentile interval (Efron 1979) of a metric under other test images.

    `floor_sd`, a spread over seeds known from elsewhere, is folded in as normal noise.
    """
    low, high = _percentiles(one.values + _noise(floor_sd, len(one.values)))
    return Interval(low, high, _image_basis(floor_sd))


def image_comparison(
    one: Replicates, other: Replicates, floor_sd: float | None = None
) -> Comparison:
    """Return the difference of two metrics on the same test images, paired image by image.

    p is `_beyond_zero`'s. AssertionError unless the images are the same.
    """
    assert one.images == other.images, "only metrics on the same test images can be paired"
    sd = None if floor_sd is None else math.sqrt(2) * floor_sd
    differences = one.values - other.values + _noise(sd, len(one.values))
    low, high = _percentiles(differences)
    p = _beyond_zero(differences)
    return Comparison(one.value - other.value, low, high, p, _image_basis(floor_sd))


def floor_interval(mean: float, sd: float, seeds: int) -> Interval:
    """Return the normal interval of a mean over seeds whose spread is known from elsewhere."""
    half = _half(sd / math.sqrt(seeds))
    return Interval(mean - half, mean + half, "floor")


def floor_comparison(one: float, other: float, sd: float, seeds: tuple[int, int]) -> Comparison:
    """Return the z-test of two means over so many seeds each, both of a known spread above 0."""
    difference, error = one - other, sd * math.sqrt(1 / seeds[0] + 1 / seeds[1])
    p, half = 2 * float(ndtr(-abs(difference) / error)), _half(error)
    return Comparison(difference, difference - half, difference + half, p, "floor")


def seeds_needed(difference: float, sd: float) -> int | None:
    """Return how many seeds on each side find that difference; None if it is 0, for none do.

    Finding it is a two-sided t-test of equal variances at 1 - `LEVEL` with a power of `POWER`.
    """
    if difference == 0.0:
        return None
    effect, high = min(abs(difference) / sd if sd else math.inf, CLEAR), 2
    while _power(effect, high) < POWER:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(effect, middle) >= POWER else (middle, high)
    return max(high, 2)


def spearman(one: Sequence[float], other: Sequence[float]) -> Correlation | None:
    """Return Spearman's rho (1904) with mean ranks for ties; see `kendall` for p and None."""
    orders = _orders(one, other)
    if orders is None:
        return None
    # what a value wins less what it loses is twice its rank, centred
    first, second = (signs.sum(axis=1, dtype=np.int64) for signs in orders)
    return _correlation(first, second, second[_permutations(len(one))])


def kendall(one: Sequence[float], other: Sequence[float]) -> Correlation | None:
    """Return Kendall's tau-b (1945), and p by permuting the values against each other.

    None for fewer than three pairs, and where all values of one side are the same.
    """
    orders = _orders(one, other)
    if orders is None:
        return None
    first, second = orders
    places = _permutations(len(one))
    return _correlation(first, second, second[places[:, :, None], places[:, None, :]])


def _image_basis(floor_sd: float | None) -> Basis:
    """Return what an interval over images comes from, with that floor or without any."""
    return "images" if floor_sd is None else "images + floor"


def _noise(sd: float | None, count: int) -> NDArray[np.float64]:
    """Return the quantiles of normal noise in an order that is the same for the same count.

    Drawn numbers would be off by luck, and by the same luck in every interval.
    """
    quantiles = ndtri((np.arange(count) + 0.5) / count)
    return (sd or 0.0) * np.random.default_rng(NOISE_SEED).permutation(quantiles)


def _percentiles(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the middle `LEVEL` of the values."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _beyond_zero(differences: NDArray[np.float64]) -> float:
    """Return the two-sided p of replicated differences (Davison and Hinkley 1997, ch. 4).

    It counts those on the rarer side of 0 twice, and the data themselves once. Where none is
    there the normal tail of their spread goes on: a thousand samples tell nothing below 0.001,
    and Holm's correction for a large table would then leave nothing settled.
    """
    rarer = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    p = min(1.0, (1 + 2 * rarer) / (1 + len(differences)))
    if rarer:
        return p
    sd = float(differences.std())
    tail = 2 * float(ndtr(-abs(float(differences.mean())) / sd)) if sd else 0.0
    return max(LEAST_P, min(p, tail))


def _half(error: float) -> float:
    """Return half the width of the normal interval of that standard error."""
    return float(ndtri((1 + LEVEL) / 2)) * error


def _power(effect: float, seeds: int) -> float:
    """Return how often a t-test finds that many standard deviations (Cohen 1988, 2.5)."""
    freedom, shift = 2 * seeds - 2, effect * math.sqrt(seeds / 2)
    bound = float(stdtrit(freedom, (1 + LEVEL) / 2))
    return float(1 - nctdtr(freedom, shift, bound) + nctdtr(freedom, shift, -bound))


def _orders(one: Sequence[float], other: Sequence[float]) -> list[NDArray[Any]] | None:
    """Return for both sides 1, 0 or -1 for each pair of values; None without an order."""
    assert len(one) == len(other)
    sides = [np.asarray(values, np.float64) for values in (one, other)]
    orders = [np.sign(values[:, None] - values[None]).astype(np.int8) for values in sides]
    return orders if len(one) >= 3 and all(signs.any() for signs in orders) else None


def _correlation(one: NDArray[Any], other: NDArray[Any], shuffled: NDArray[Any]) -> Correlation:
    """Return the cosine of two scores, and how often a shuffled one has one as far from 0."""
    axes = tuple(range(1, shuffled.ndim))
    found = np.abs((one * shuffled).sum(axis=axes, dtype=np.int64))
    squares = [int((scores.astype(np.int64) ** 2).sum()) for scores in (one, other)]
    observed, drawn = int((one * other).sum(dtype=np.int64)), int(len(one) > EXACT)
    p = (int((found >= abs(observed)).sum()) + drawn) / (len(found) + drawn)
    return Correlation(observed / math.sqrt(squares[0] * squares[1]), p)


@functools.cache
def _permutations(count: int) -> NDArray[np.intp]:
    """Return every order of few values, or `DRAWS` orders of many, always the same."""
    if count <= EXACT:
        return np.array(list(itertools.permutations(range(count))))
    random = np.random.default_rng(NOISE_SEED)
    return np.array([random.permutation(count) for _ in range(DRAWS)])
