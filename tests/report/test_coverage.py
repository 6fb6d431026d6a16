"""How often intervals of 95 % hold the truth of simulated data: 93 to 97 % of the times."""

import numpy as np
import pytest

from mae_bench.report.per_image import mean_iou, samples
from mae_bench.report.statistics import (
    Replicates,
    image_comparison,
    image_interval,
    t_interval,
    welch,
)

TRIALS = 2000
IMAGES = 300


@pytest.fixture(scope="module")
def counts():
    """Return how often each image is in each sample."""
    return np.concatenate(list(samples(IMAGES)))


def assert_covers(intervals, truth):
    held = np.mean([one.low <= truth <= one.high for one in intervals])
    assert 0.93 <= held <= 0.97


def replicated(values, resampled):
    """Return the replicates of each trial; values [trials], resampled [samples, trials]."""
    pairs = zip(values, resampled.T, strict=True)
    return [Replicates(float(value), again, "") for value, again in pairs]


def compared(pairs, floor_sd=None):
    return [image_comparison(one, other, floor_sd) for one, other in zip(*pairs, strict=True)]


@pytest.mark.parametrize("seeds", [2, 5])
def test_of_students_interval(seeds):
    drawn = np.random.default_rng(0).normal(70, 2, (TRIALS, seeds))
    assert_covers([t_interval(line) for line in drawn.tolist()], 70)


def test_of_welchs_interval_with_unequal_spreads_and_counts():
    random = np.random.default_rng(1)
    one, other = random.normal(71, 1, (TRIALS, 3)), random.normal(70, 2, (TRIALS, 5))
    assert_covers([welch(*pair) for pair in zip(one.tolist(), other.tolist(), strict=True)], 1)


def accuracies(random, seed_sd=0.0):
    """Return two models' right answers [images, trials], which have images in common.

    They are right with 0.7 and 0.64, which differ from seed to seed by that much.
    """
    hard = random.random((IMAGES, TRIALS))
    seeds = random.normal(0, seed_sd, (2, TRIALS))
    slips = random.random((2, IMAGES, TRIALS)) < 0.2
    own = random.random((2, IMAGES, TRIALS))
    levels = np.array([0.7, 0.64])[:, None, None] + seeds[:, None]
    return np.where(slips, own, hard) < levels


@pytest.mark.parametrize(("seed_sd", "floor_sd"), [(0.0, None), (0.03, 3.0)])
def test_of_accuracy_by_images_with_and_without_noise_of_seeds(counts, seed_sd, floor_sd):
    right = 100.0 * accuracies(np.random.default_rng(2), seed_sd)
    pairs = [replicated(one.mean(axis=0), counts @ one / IMAGES) for one in right]
    assert_covers([image_interval(one, floor_sd) for one in pairs[0]], 70)
    assert_covers(compared(pairs, floor_sd), 70 - 64)


def test_of_mean_iou_by_images(counts):
    classes, trials = 5, 1000
    random = np.random.default_rng(3)
    shape = (IMAGES, trials, classes)
    union = random.gamma(0.5, 2000 * np.arange(1, classes + 1), shape)  # classes of other sizes
    share = random.beta(4, 2, shape)  # of mean 2/3: the truth of the first model
    better = np.minimum(1, share + 0.1 * random.random(shape))
    pairs = []
    for one in (share, better):
        both = (one * union).reshape(IMAGES, -1), union.reshape(IMAGES, -1)
        again = mean_iou(*((counts @ area).reshape(-1, trials, classes) for area in both))
        whole = mean_iou(*(area.sum(axis=0).reshape(trials, classes) for area in both))
        pairs.append(replicated(whole, again))
    assert_covers([image_interval(one) for one in pairs[0]], 100 * 2 / 3)
    gain = 100 * np.mean(better - share)  # of five million images: off by less than 0.01
    assert_covers(compared(pairs[::-1]), gain)
