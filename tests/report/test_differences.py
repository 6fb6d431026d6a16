import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mae_bench.report.differences import best
from mae_bench.report.frame import long_frame
from mae_bench.report.leaderboard import leaderboard
from mae_bench.report.measurement import Measurement
from mae_bench.suite.suite import Column, made_row

FINETUNE, LINEAR, COCO = "imagenet_finetune", "imagenet_linear", "coco_vitdet"


def cell(bench: Any, row: str, task: str, metric: str = "top1") -> pd.Series:
    board = leaderboard(long_frame(bench.plan, bench.store))
    return board.set_index(["row", "task", "metric"]).loc[(row, task, metric)]


def test_an_interval_over_seeds_is_students(filled: Any) -> None:
    one = cell(filled, "MAE", LINEAR)
    exact = stats.t.interval(0.95, 1, loc=61.5, scale=stats.sem([60.0, 63.0]))
    assert (one["low"], one["high"]) == pytest.approx(exact, rel=1e-12)
    assert one["basis"] == "seeds"


def test_measured_once_without_images_or_floor_has_no_interval(filled: Any) -> None:
    one = cell(filled, "MAE", COCO, "box_ap")
    assert (one["n"], one["basis"]) == (1, "")
    assert math.isnan(one["low"]) and math.isnan(one["high"])


def test_differences_have_welchs_interval_and_a_p_corrected_over_the_table(filled: Any) -> None:
    one = cell(filled, "MAE", LINEAR)
    seeds = {
        "MAE": {FINETUNE: (80.0, 82.0), LINEAR: (60.0, 63.0)},
        "Sup": {FINETUNE: (76.0, 77.0), LINEAR: (62.0, 62.5)},
        "Rand": {FINETUNE: (79.5, 82.5), LINEAR: (30.0, 34.0)},
    }
    pairs = [("MAE", "Sup"), ("MAE", "Rand"), ("Sup", "Rand")]  # each once in either direction
    tests = {
        (*pair, task): stats.ttest_ind(*(seeds[row][task] for row in pair), equal_var=False)
        for task in (FINETUNE, LINEAR)
        for pair in pairs
    }
    raw = sorted(test.pvalue for test in tests.values())
    steps = [min(1.0, (len(raw) - i) * p) for i, p in enumerate(raw)]
    for origin, row in (("supervised", "Sup"), ("random", "Rand")):
        test = tests["MAE", row, LINEAR]
        exact = test.confidence_interval(0.95)
        found = (one[f"delta_{origin}_low"], one[f"delta_{origin}_high"])
        assert found == pytest.approx((exact.low, exact.high), rel=1e-9)
        corrected = max(steps[: raw.index(test.pvalue) + 1])
        assert one[f"delta_{origin}_p"] == pytest.approx(corrected, rel=1e-9)
        assert one[f"delta_{origin}_basis"] == "seeds"


def test_a_difference_and_its_reverse_are_one_test(filled: Any) -> None:
    sup, rand = cell(filled, "Sup", LINEAR), cell(filled, "Rand", LINEAR)
    assert sup["delta_random"] == -rand["delta_supervised"]
    assert sup["delta_random_low"] == -rand["delta_supervised_high"]
    assert sup["delta_random_p"] == rand["delta_supervised_p"]


def test_best_marks_the_top_and_all_that_cannot_be_told_from_it(filled: Any) -> None:
    for row, values in {"MAE": (60.0, 63.0), "Sup": (61.9, 62.0), "Rand": (2.0, 2.1)}.items():
        filled.fill(row, LINEAR, *values)
    p = stats.ttest_ind((61.9, 62.0), (2.0, 2.1), equal_var=False).pvalue
    assert 3 * p < 0.05  # Holm, three pairs of which the best chooses two
    assert stats.ttest_ind((61.9, 62.0), (60.0, 63.0), equal_var=False).pvalue > 0.05
    board = leaderboard(long_frame(filled.plan, filled.store))
    marked = {(r, t) for r, t, b in board[["row", "task", "best"]].to_numpy() if b}
    # fine-tuning: two seeds do not tell 81.0 from 76.5; COCO: measured once, nothing to judge by
    assert marked == {("MAE", LINEAR), ("Sup", LINEAR)}


def test_equal_encoders_are_seldom_told_from_the_luckiest_of_them() -> None:
    random, tables, rows = np.random.default_rng(0), 400, 12
    found = 0
    for means in random.normal(80, 0.1, (tables, rows)):
        about = dict.fromkeys(("arch", "task", "variant", "metric"), "")
        board = pd.DataFrame({"mean": means, "higher_is_better": True}).assign(**about)
        found += any(best(board, [Measurement((mean,), None, 0.1) for mean in means]))
    assert found / tables <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / tables)


def test_a_gap_that_two_seeds_do_not_settle_marks_nothing(filled: Any) -> None:
    board = leaderboard(long_frame(filled.plan, filled.store))
    assert not board["best"].any()


def test_lower_is_best_where_lower_is_better(filled: Any) -> None:
    for row, values in {"MAE": (60.0, 60.1), "Sup": (50.0, 50.1), "Rand": (2.0, 2.1)}.items():
        filled.fill(row, LINEAR, *values)
    frame = long_frame(filled.plan, filled.store)
    for higher, row in ((True, "MAE"), (False, "Rand")):
        frame["higher_is_better"] = higher
        board = leaderboard(frame)
        assert set(board[(board["task"] == LINEAR) & board["best"]]["row"]) == {row}


def test_other_rules_make_another_column(bench: Callable[..., Any]) -> None:
    rows = (
        made_row("MAE", "mae", "demo", {}),
        made_row("Rand", "random_init", "demo", {}, seeds="each"),
    )
    boards = []
    for fields in ({"image_size": 224}, {"image_size": 448}):
        one = bench(rows, (Column(FINETUNE, "published", fields),))
        one.fill("MAE", FINETUNE, 80.0, 80.2)
        one.fill("Rand", FINETUNE, 70.0, 70.2)
        boards.append(long_frame(one.plan, one.store))
    mixed = pd.concat([boards[0][boards[0]["row"] == "MAE"], boards[1][boards[1]["row"] == "Rand"]])
    board = leaderboard(mixed)
    assert set(board["variant"]) == {"", "image size 448"}
    assert board["delta_random"].isna().all() and not board["best"].any()
    assert leaderboard(boards[1])["delta_random"].iloc[0] == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("task", "fields", "variant"),
    [
        ("ade20k_upernet", {"stride": 171}, "stride 171"),
        ("ade20k_upernet", {"crop_size": 448}, "crop size 448"),
        ("imagenet_linear", {"image_size": 448}, "image size 448"),
        (COCO, {"image_size": 512}, "image size 512"),
    ],
)
def test_a_protocol_of_its_own_has_its_values_in_the_variant(
    bench: Callable[..., Any], task: str, fields: dict[str, Any], variant: str
) -> None:
    row = made_row("MAE", "mae", "published", {})
    one = bench((row,), (Column(task, "published", fields),))
    assert set(long_frame(one.plan, one.store)["variant"]) == {variant}
    usual = bench((row,), (Column(task),))
    assert set(long_frame(usual.plan, usual.store)["variant"]) == {""}


def test_the_two_detectors_are_never_compared(bench: Callable[..., Any]) -> None:
    rows = (
        made_row("MAE", "mae", "demo", {}),
        made_row("Rand", "random_init", "demo", {}, seeds="each"),
    )
    both = bench(rows, (Column(COCO, "demo"), Column("coco_maskrcnn_fpn", "demo")))
    both.fill("MAE", COCO, 50.0, 50.1)
    both.fill("Rand", "coco_maskrcnn_fpn", 40.0, 40.1)
    board = leaderboard(long_frame(both.plan, both.store))
    assert board["delta_random"].isna().all() and not board["best"].any()


def test_what_is_measured_of_a_classifier_stands_apart_as_its_training_does(
    bench: Callable[..., Any],
) -> None:
    row = made_row("MAE", "mae", "published", {})
    robustness = Column("imagenet_robustness")
    larger = bench((row,), (Column(FINETUNE, "published", {"image_size": 448}), robustness))
    assert set(long_frame(larger.plan, larger.store)["variant"]) == {"image size 448"}
    usual = bench((row,), (Column(FINETUNE), robustness))
    assert set(long_frame(usual.plan, usual.store)["variant"]) == {""}
