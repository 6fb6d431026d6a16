import math

import numpy as np
import pytest
import scipy.stats

from mae_bench.report.statistics import (
    Correlation,
    Replicates,
    floor_comparison,
    floor_interval,
    holm,
    image_comparison,
    image_interval,
    kendall,
    seeds_needed,
    spearman,
    t_interval,
    welch,
)

RANDOM = np.random.default_rng(0)


def replicates(values, value=0.0, images="same"):
    return Replicates(value, np.asarray(values, float), images)


@pytest.mark.parametrize("count", [2, 3, 10])
def test_students_interval_is_that_of_scipy(count):
    values = RANDOM.normal(70, 2, count).tolist()
    found = t_interval(values)
    error = scipy.stats.sem(values)
    expected = scipy.stats.t.interval(0.95, count - 1, np.mean(values), error)
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-12)
    assert found.basis == "seeds"
    assert t_interval(values[:1]) is None


@pytest.mark.parametrize("counts", [(2, 2), (3, 7), (10, 4)])
def test_welchs_test_is_that_of_scipy(counts):
    one, other = RANDOM.normal(70, 3, counts[0]), RANDOM.normal(69, 1, counts[1])
    found = welch(one.tolist(), other.tolist())
    expected = scipy.stats.ttest_ind(one, other, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-10)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-10)
    assert found.difference == pytest.approx(one.mean() - other.mean())
    assert welch(one[:1].tolist(), other.tolist()) is None


def test_values_without_spread_differ_surely_or_not_at_all():
    assert welch([1.0, 1.0], [2.0, 2.0]).p == 0.0
    assert welch([1.0, 1.0], [1.0, 1.0]).p == 1.0


def test_holm_corrects_as_in_a_worked_example():
    # four sorted p-values times 4, 3, 2, 1; none below the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_image_interval_holds_the_middle_of_the_replicates():
    found = image_interval(replicates(np.arange(1001) / 10))
    assert (found.low, found.high) == pytest.approx((2.5, 97.5))
    assert found.basis == "images"


def test_a_floor_widens_the_image_interval_as_variances_add():
    spread = 20_000
    one = replicates(np.random.default_rng(1).normal(0, 3, spread))
    found = image_interval(one, floor_sd=4.0)
    assert found.basis == "images + floor"
    assert found.high - found.low == pytest.approx(2 * 1.96 * 5, rel=0.02)
    other = replicates(np.zeros(spread))
    both = image_comparison(one, other, floor_sd=4.0)
    assert both.high - both.low == pytest.approx(2 * 1.96 * math.sqrt(9 + 2 * 16), rel=0.02)


def test_paired_replicates_are_subtracted_one_by_one():
    common = np.random.default_rng(2).normal(0, 50, 999)
    found = image_comparison(replicates(common + 1, 61.0), replicates(common, 60.0))
    assert found.difference == 1.0
    assert (found.low, found.high) == pytest.approx((1.0, 1.0))


def test_p_counts_the_rarer_side_twice():
    none, some = replicates(np.zeros(999)), np.ones(999)
    some[:10] = -1
    assert image_comparison(replicates(some), none).p == 21 / 1000
    assert image_comparison(none, replicates(some)).p == 21 / 1000
    assert image_comparison(none, none).p == 1.0


def test_p_goes_on_where_no_replicate_is_on_the_other_side():
    quantiles = scipy.stats.norm.ppf((np.arange(1000) + 0.5) / 1000)
    none = replicates(np.zeros(1000))
    found = image_comparison(replicates(quantiles + 4), none)
    assert found.p == pytest.approx(2 * scipy.stats.norm.sf(4), rel=0.05)
    assert found.p * 300 < 0.05  # it outlives Holm's correction for a large table
    near = image_comparison(replicates(quantiles + 2), none)
    assert near.p == pytest.approx(2 * scipy.stats.norm.sf(2), rel=0.05)


def test_p_of_replicates_is_never_zero():
    assert image_comparison(replicates(np.ones(999)), replicates(np.zeros(999))).p == 1e-6


def test_other_images_are_never_paired():
    with pytest.raises(AssertionError, match="same test images"):
        image_comparison(replicates([0.0]), replicates([0.0], images="other"))


def test_known_spreads_give_normal_intervals():
    found = floor_interval(83.0, 0.08, seeds=4)
    expected = scipy.stats.norm.interval(0.95, 83.0, 0.04)
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-12)
    both = floor_comparison(83.6, 83.4, 0.08, (1, 1))
    error = 0.08 * math.sqrt(2)
    assert both.p == pytest.approx(2 * scipy.stats.norm.sf(0.2 / error), rel=1e-9)
    assert both.low == pytest.approx(0.2 - scipy.stats.norm.ppf(0.975) * error)
    assert {found.basis, both.basis} == {"floor"}


# Cohen 1988, table 2.4.1 (two-sided 0.05, power 0.80); G*Power and R's pwr give the same
@pytest.mark.parametrize(("effect", "expected"), [(0.2, 394), (0.5, 64), (0.8, 26), (1.0, 17)])
def test_seeds_needed_are_those_of_the_tables_of_power(effect, expected):
    assert seeds_needed(effect, 1.0) == expected
    assert seeds_needed(-effect / 10, 0.1) == expected


@pytest.mark.parametrize("effect", [0.03, 0.3, 1.5, 3.0])
def test_one_seed_less_than_needed_has_too_little_power(effect):
    def power(seeds):
        freedom = 2 * seeds - 2
        beyond = scipy.stats.nct(freedom, effect * math.sqrt(seeds / 2))
        bound = scipy.stats.t.ppf(0.975, freedom)
        return beyond.sf(bound) + beyond.cdf(-bound)

    needed = seeds_needed(effect, 1.0)
    assert power(needed) >= 0.8 > power(needed - 1)


def test_no_number_of_seeds_finds_no_difference_and_two_find_a_clear_one():
    assert seeds_needed(0.0, 1.0) is None
    assert seeds_needed(1.0, 0.0) == seeds_needed(1e6, 1.0) == 2


@pytest.mark.parametrize("count", [3, 6, 12, 40])
def test_rank_correlations_are_those_of_scipy_with_ties(count):
    one = RANDOM.integers(0, count, count)
    other = np.r_[one[: count // 2], RANDOM.integers(0, count, count - count // 2)]
    one[0], other[0] = -1, count
    expected = scipy.stats.spearmanr(one, other).statistic, scipy.stats.kendalltau(one, other)
    found = spearman(one, other).value, kendall(one, other).value
    assert found == pytest.approx((expected[0], expected[1].statistic), abs=1e-12)


def test_p_of_few_ranks_is_exact():
    one, other = [1, 2, 3, 4, 5, 6, 7], [2, 1, 3, 4, 7, 5, 6]
    expected = scipy.stats.kendalltau(one, other, method="exact").pvalue
    assert kendall(one, other).p == pytest.approx(expected, rel=1e-12)
    by_scipy = scipy.stats.permutation_test(
        (one[:6],),
        lambda order: scipy.stats.spearmanr(order, other[:6]).statistic,
        permutation_type="pairings",
        n_resamples=np.inf,
    )
    assert spearman(one[:6], other[:6]).p == pytest.approx(by_scipy.pvalue, rel=1e-12)
    assert kendall([1, 2, 3], [4, 5, 6]) == Correlation(1.0, 1 / 3)  # 2 of 6 orders


def test_p_of_many_ranks_is_near_that_of_the_normal_limit():
    one = np.random.default_rng(3).normal(size=30)
    other = 0.4 * one + np.random.default_rng(4).normal(size=30)
    for ours, theirs in ((spearman, scipy.stats.spearmanr), (kendall, scipy.stats.kendalltau)):
        assert ours(one, other).p == pytest.approx(theirs(one, other).pvalue, abs=0.02)


def test_two_pairs_or_a_constant_side_have_no_order():
    assert spearman([1, 2], [1, 2]) is None
    assert kendall([1, 1, 1], [1, 2, 3]) is None
