"""What is known of a cell's mean, how sure that makes it, and whether two can be told apart."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, variance

import numpy as np
import pandas as pd

from mae_bench.core.recipe import PerImage
from mae_bench.report.noise import floor
from mae_bench.report.per_image import Refusal
from mae_bench.report.statistics import (
    Comparison,
    Interval,
    Replicates,
    floor_comparison,
    floor_interval,
    image_comparison,
    image_interval,
    t_interval,
    welch,
)

Sampled = Callable[[str, PerImage, str, float], Replicates | Refusal | None]
"""Job key, what the job keeps of each image, metric, its value -> the metric on samples of them."""


@dataclass(frozen=True)
class Measurement:
    """A cell's numbers, and what else tells how sure their mean is."""

    values: tuple[float, ...]
    """One for each seed."""
    replicates: Replicates | None = None
    """Their mean on samples of the test images; None where a job kept nothing of each image."""
    floor_sd: float | None = None
    """The spread over seeds that somebody else found."""

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return fmean(self.values)

    @property
    def is_spread(self) -> bool:
        """Whether seeds gave several values: from one value nothing is known of others."""
        return len(set(self.values)) > 1


def nothing_kept(key: str, per_image: PerImage, metric: str, value: float) -> None:
    """Return None: there is no store to look for what jobs kept of each image."""


def measured(lines: pd.DataFrame, sampled: Sampled) -> Measurement:
    """Return what is known of a cell from its lines of the long table, each with a value.

    What jobs kept of each image is looked up only where seeds say nothing.
    """
    values = tuple(map(float, lines["value"]))
    one = lines.iloc[0]
    known = floor(str(one["protocol"]), str(one["metric"]), str(one["arch"]))
    plain = Measurement(values, None, None if known is None else known.sd)
    if plain.is_spread or not one["per_image"]:
        return plain
    found = [
        sampled(str(key), one["per_image"], str(one["metric"]), value)
        for key, value in zip(lines["key"], values, strict=True)
    ]
    return Measurement(values, _mean(found), plain.floor_sd)


def interval(one: Measurement) -> Interval | None:
    """Return where the mean lies: by its seeds, else by the test images, else by the floor.

    Images that all count the same, as in an accuracy of 0 %, say no more of others than seeds do.
    """
    if one.is_spread:
        return t_interval(one.values)
    sd, seeds = one.floor_sd, len(one.values)
    if one.replicates is not None and np.ptp(one.replicates.values) > 0.0:
        return image_interval(one.replicates, None if sd is None else sd / math.sqrt(seeds))
    return None if sd is None else floor_interval(one.mean, sd, seeds)


def compared(one: Measurement, other: Measurement) -> Comparison | None:
    """Return one mean less the other; None where nothing tells how sure that is.

    By Welch's test where both have seeds, else paired over the same test images, else by the floors
    if both have one.
    """
    seeds = (len(one.values), len(other.values))
    if min(seeds) > 1 and (one.is_spread or other.is_spread):
        return welch(one.values, other.values)
    sd = _floor_of_both(one, other)
    if one.replicates and other.replicates and one.replicates.images == other.replicates.images:
        # image_comparison takes the sd of one seed on each side
        scaled = None if sd is None else sd * math.sqrt((1 / seeds[0] + 1 / seeds[1]) / 2)
        return image_comparison(one.replicates, other.replicates, scaled)
    return None if sd is None else floor_comparison(one.mean, other.mean, sd, seeds)


def spread(one: Measurement, other: Measurement) -> tuple[float | None, str]:
    """Return the standard deviation over seeds, and where it is from: "seeds", "floor" or nothing.

    Over seeds it is the root of the mean variance of those that have several.
    """
    variances = [variance(side.values) for side in (one, other) if side.is_spread]
    if variances:
        return math.sqrt(fmean(variances)), "seeds"
    floors = [side.floor_sd for side in (one, other) if side.floor_sd is not None]
    return (max(floors), "floor") if floors else (None, "")


def _floor_of_both(one: Measurement, other: Measurement) -> float | None:
    """Return the spread that both would have in common for a difference as uncertain as theirs."""
    if one.floor_sd is None or other.floor_sd is None:
        return None
    if one.floor_sd == other.floor_sd:
        return one.floor_sd
    weights = (1 / len(one.values), 1 / len(other.values))
    squares = weights[0] * one.floor_sd**2 + weights[1] * other.floor_sd**2
    return math.sqrt(squares / sum(weights))


def _mean(found: Sequence[Replicates | Refusal | None]) -> Replicates | None:
    """Return the mean over seeds on each sample; None unless all have the same test images."""
    there = [one for one in found if isinstance(one, Replicates)]
    if len(there) < len(found) or len({one.images for one in there}) != 1:
        return None
    count = len(there)
    return Replicates(
        sum(one.value for one in there) / count,
        sum((one.values for one in there[1:]), start=there[0].values) / count,
        there[0].images,
    )
