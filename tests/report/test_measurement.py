import math
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from mae_bench.report.compare import compare
from mae_bench.report.frame import long_frame
from mae_bench.report.leaderboard import leaderboard
from mae_bench.report.measurement import Measurement, compared, interval, spread
from mae_bench.report.notes import doubts
from mae_bench.report.per_image import replicates
from mae_bench.report.statistics import Replicates, seeds_needed

LINEAR, COCO = "imagenet_linear", "coco_vitdet"
IMAGES = 400


def sampled(mean: float, sd: float, images: str = "val") -> Replicates:
    """Return replicates at the quantiles of a normal distribution, in an order of their own."""
    values = stats.norm.ppf((np.arange(1000) + 0.5) / 1000, mean, sd)
    return Replicates(mean, np.random.default_rng(0).permutation(values), images)


def test_seeds_come_before_images_and_images_before_a_floor() -> None:
    several = interval(Measurement((60.0, 63.0), sampled(61.5, 1.0), 0.1))
    once = interval(Measurement((60.0,), sampled(60.0, 1.0), 0.1))
    alone = interval(Measurement((60.0,), None, 0.1))
    assert several and once and alone
    assert [one.basis for one in (several, once, alone)] == ["seeds", "images + floor", "floor"]
    assert several.high - 61.5 == pytest.approx(stats.t.ppf(0.975, 1) * stats.sem([60.0, 63.0]))
    assert once.high - 60.0 == pytest.approx(1.96 * math.hypot(1.0, 0.1), rel=0.05)
    assert alone.high - 60.0 == pytest.approx(stats.norm.ppf(0.975) * 0.1)
    assert interval(Measurement((60.0,))) is None


def test_seeds_that_all_gave_one_number_tell_nothing_of_how_sure_it_is() -> None:
    level = Measurement((12.5, 12.5), sampled(12.5, 4.0))
    found = interval(level)
    assert found and found.basis == "images" and found.high - found.low > 10.0
    assert interval(Measurement((12.5, 12.5))) is None
    assert compared(Measurement((12.5, 12.5)), Measurement((13.0, 13.0))) is None


def test_two_with_seeds_are_compared_by_welch_even_if_one_has_no_spread() -> None:
    one, other = (60.0, 63.0, 61.0), (50.0, 50.0, 50.0)
    found = compared(Measurement(one), Measurement(other))
    exact = stats.ttest_ind(one, other, equal_var=False)
    assert found and found.basis == "seeds" and found.p == pytest.approx(exact.pvalue)


def test_images_are_paired_only_where_they_are_the_same() -> None:
    first = Measurement((60.0,), sampled(60.0, 2.0))
    shifted = Replicates(59.0, first.replicates.values - 1.0, "val")  # type: ignore[union-attr]
    found = compared(first, Measurement((59.0,), shifted))
    assert found and (found.basis, found.low, found.high) == ("images", 1.0, 1.0)
    elsewhere = Replicates(59.0, shifted.values, "another set")
    assert compared(first, Measurement((59.0,), elsewhere)) is None


def test_images_that_all_count_the_same_give_no_interval() -> None:
    never = Replicates(0.0, np.zeros(1000), "val")
    assert interval(Measurement((0.0,), never)) is None
    found = interval(Measurement((0.0,), never, 0.1))
    assert found and found.basis == "floor"


def test_floors_of_two_sizes_add_as_variances() -> None:
    base, large = Measurement((83.6, 83.6), None, 0.08), Measurement((83.4,), None, 0.06)
    found = compared(base, large)
    error = math.sqrt(0.08**2 / 2 + 0.06**2)
    assert found and found.basis == "floor"
    assert found.p == pytest.approx(2 * stats.norm.sf(0.2 / error))
    level = [Replicates(mean, np.full(1000, mean), "val") for mean in (60.0, 59.0)]
    images = compared(Measurement((60.0,), level[0], 0.3), Measurement((59.0,), level[1], 0.4))
    assert images and images.basis == "images + floor"
    half = stats.norm.ppf(0.975) * 0.5
    assert (images.low, images.high) == pytest.approx((1 - half, 1 + half), abs=0.005)


def test_a_large_difference_outlives_the_correction_for_a_whole_table() -> None:
    one = Measurement((60.0,), sampled(60.0, 1.0))
    found = compared(one, Measurement((55.5,), Replicates(55.5, np.full(1000, 55.5), "val")))
    assert found and found.p == pytest.approx(2 * stats.norm.sf(4.5), rel=0.5)
    assert 63 * found.p < 0.05 < 63 / 1001  # pairs of the full suite; what counting alone gives
    near = compared(one, Measurement((58.5,), Replicates(58.5, np.full(1000, 58.5), "val")))
    assert near and near.p == pytest.approx(2 * stats.norm.sf(1.5), abs=0.005)


def test_seeds_against_one_seed_are_paired_by_their_mean_over_images() -> None:
    one, other = Measurement((60.0, 62.0), sampled(61.0, 1.0)), Measurement((60.0,))
    assert compared(one, other) is None
    found = compared(one, Measurement((60.0,), sampled(60.0, 1.0)))
    assert found and found.basis == "images" and found.difference == 1.0


def test_a_floor_that_both_have_is_a_z_test() -> None:
    one, other = Measurement((83.6,), None, 0.08), Measurement((83.3,), None, 0.08)
    found = compared(one, other)
    z = 0.3 / (0.08 * math.sqrt(2))
    assert found and found.basis == "floor"
    assert found.p == pytest.approx(2 * stats.norm.sf(z), rel=1e-9)
    assert compared(one, Measurement((83.3,))) is None


def test_the_spread_over_seeds_is_measured_before_it_is_published() -> None:
    one, other = Measurement((60.0, 63.0), None, 0.1), Measurement((62.0, 62.5), None, 0.1)
    assert spread(one, other) == (pytest.approx(math.sqrt((4.5 + 0.125) / 2)), "seeds")
    assert spread(one, Measurement((1.0,))) == (pytest.approx(math.sqrt(4.5)), "seeds")
    assert spread(Measurement((1.0,), None, 0.1), Measurement((2.0,), None, 0.1)) == (0.1, "floor")
    assert spread(Measurement((1.0,)), Measurement((2.0,))) == (None, "")


def keep(bench: Any, row: str, right: int) -> None:
    """Let the row's first probe have that many of the test images right, and keep which."""
    job = bench.jobs(row, LINEAR)[0]
    bench.finish(job, {"top1": 100.0 * right / IMAGES})
    names = [f"{i:04}" for i in range(IMAGES)]
    top1 = [int(i >= right) for i in range(IMAGES)]
    table = pa.table({"image": names, "label": [0] * IMAGES, "top1": top1})
    pq.write_table(table, bench.store.dir(job) / "predictions.parquet")


def test_one_seed_is_as_sure_as_its_test_images_make_it(three: Any) -> None:
    for row, right in {"MAE": 300, "Sup": 300, "Rand": 240}.items():
        keep(three, row, right)
    frame = long_frame(three.plan, three.store)
    once = frame[(frame["task"] == LINEAR) & (frame["seed"] == 0)]
    board = leaderboard(once, partial(replicates, three.store.root)).set_index("row")
    assert set(board["basis"]) == {"images"}
    error = 100 * math.sqrt(0.75 * 0.25 / IMAGES)  # binomial
    assert board.loc["MAE", "high"] - 75.0 == pytest.approx(1.96 * error, rel=0.1)
    # the same images are right: paired, they cannot be told apart by any sample
    assert board.loc["MAE", "delta_supervised"] == 0.0
    assert board.loc["MAE", "delta_supervised_p"] == 1.0
    # 60 images of 400 are right in one alone: binomial again
    error = 100 * math.sqrt(0.15 * 0.85 / IMAGES)
    ends = board.loc["MAE", ["delta_random_low", "delta_random_high"]]
    assert list(ends) == pytest.approx([15 - 1.96 * error, 15 + 1.96 * error], abs=0.3)
    assert board.loc["MAE", "delta_random_basis"] == "images"
    assert list(board["best"]) == [True, True, False]
    assert set(leaderboard(once)["basis"]) == {""}


def test_what_does_not_give_its_number_again_is_named_and_not_used(three: Any) -> None:
    keep(three, "MAE", 300)
    keep(three, "Rand", 240)
    job = three.jobs("MAE", LINEAR)[0]
    three.finish(job, {"top1": 80.0})
    frame = long_frame(three.plan, three.store)
    once = frame[(frame["task"] == LINEAR) & (frame["seed"] == 0)]
    look = partial(replicates, three.store.root)
    assert doubts(once, look) == [
        f"Doubtful: MAE in imagenet_linear (seed 0, job {job.key}): predictions.parquet gives top1 "
        "75.000000, the result says 80.000000; see `mae-bench verify`."
    ]
    board = leaderboard(once, look).set_index("row")
    assert (board.loc["MAE", "mean"], board.loc["MAE", "basis"]) == (80.0, "")
    assert board.loc["Rand", "basis"] == "images"


def test_two_rows_are_compared_column_by_column(filled: Any) -> None:
    frame = long_frame(filled.plan, filled.store)
    found = compare(frame, "MAE", "Rand").set_index(["task", "metric"])
    fine = found.loc["imagenet_finetune", "top1"]
    probe = found.loc[LINEAR, "top1"]
    tests = [
        stats.ttest_ind(*pair, equal_var=False).pvalue
        for pair in (((80.0, 82.0), (79.5, 82.5)), ((60.0, 63.0), (30.0, 34.0)))
    ]
    assert fine["p"] == pytest.approx(tests[0])  # the larger is left as it is
    assert probe["p"] == pytest.approx(2 * tests[1])
    assert (fine["difference"], probe["difference"]) == (0.0, 29.5)
    assert (fine["settled"], probe["settled"]) == (False, 2 * tests[1] < 0.05)
    assert math.isnan(fine["seeds_needed"])  # no number of seeds finds a difference of 0
    assert probe["seeds_needed"] == seeds_needed(29.5, math.sqrt((4.5 + 8.0) / 2))
    box = found.loc[COCO, "box_ap"]
    assert (box["difference"], box["basis"], box["sd_of"]) == (-1.0, "", "")
    assert math.isnan(box["p"]) and math.isnan(box["seeds_needed"]) and not box["settled"]


def test_missing_seeds_leave_nothing_to_compare(filled: Any) -> None:
    (filled.store.dir(filled.jobs("MAE", LINEAR)[0]) / "result.json").unlink()
    frame = long_frame(filled.plan, filled.store)
    probe = compare(frame, "MAE", "Rand").set_index("task").loc[LINEAR]
    assert math.isnan(probe["difference"]) and math.isnan(probe["p"])


def test_a_seed_that_was_not_to_be_measured_is_no_missing_one(filled: Any) -> None:
    frame = long_frame(filled.plan, filled.store)
    absent = (frame["row"] == "MAE") & (frame["task"] == LINEAR) & (frame["seed"] == 1)
    frame.loc[absent, ["value", "state"]] = [math.nan, "not measured"]
    found = compare(frame, "MAE", "Rand").set_index("task").loc[LINEAR]
    board = leaderboard(frame).set_index(["row", "task"]).loc[("MAE", LINEAR)]
    assert (found["one_mean"], board["mean"].item()) == (60.0, 60.0)
    frame.loc[absent, "state"] = "failed"
    assert math.isnan(compare(frame, "MAE", "Rand").set_index("task").loc[LINEAR, "one_mean"])
