import math
from collections.abc import Callable
from typing import Any

import pandas as pd
from scipy import stats

from mae_bench.report.frame import long_frame
from mae_bench.report.leaderboard import leaderboard
from mae_bench.report.noise import floor
from mae_bench.report.notes import doubles, holes, notes
from mae_bench.suite.suite import Column, made_row

FINETUNE, LINEAR, COCO = "imagenet_finetune", "imagenet_linear", "coco_vitdet"


def sentences(bench: Any) -> list[str]:
    return notes(leaderboard(long_frame(bench.plan, bench.store)))


def test_each_mae_row_is_set_beside_each_baseline(filled: Any) -> None:
    for row, values in {"MAE": (80.0, 80.2), "Sup": (60.0, 60.2), "Rand": (90.0, 90.2)}.items():
        filled.fill(row, FINETUNE, *values)
    supervised, random, grounds = sentences(filled)
    # Welch of equal spreads: ± t(0.975, 2) * 0.1 * sqrt(2)
    half = stats.t.ppf(0.975, 2) * 0.1 * math.sqrt(2)
    assert supervised.startswith(
        f"MAE against Sup: better in fine-tune top-1 (+20.0 points, +{20 - half:.1f} to "
        f"+{20 + half:.1f}); not told apart in linear top-1 (−0.8 points, "
    )
    assert supervised.endswith(
        "; nothing to judge by in COCO box AP (+1.0 points), COCO mask AP (+1.0 points)."
    )
    assert random.startswith("MAE against Rand: better in linear top-1 (+29.5 points, ")
    assert f"; worse in fine-tune top-1 (−10.0 points, −{10 + half:.1f} to −" in random
    assert grounds == (
        "Intervals of the means: over seeds for 6; not known, with one seed and nothing kept of "
        "each image, for 6."
    )


def test_a_lower_number_favours_mae_where_lower_is_better(filled: Any) -> None:
    for row, values in {"MAE": (80.0, 80.2), "Sup": (60.0, 60.2), "Rand": (90.0, 90.2)}.items():
        filled.fill(row, FINETUNE, *values)
    frame = long_frame(filled.plan, filled.store)
    frame["higher_is_better"] = False
    supervised, random, _ = notes(leaderboard(frame))
    assert "worse in fine-tune top-1 (+20.0 points" in supervised
    assert "better in fine-tune top-1 (−10.0 points" in random


def test_missing_seeds_are_compared_with_nothing(filled: Any) -> None:
    (filled.store.dir(filled.jobs("Rand", LINEAR)[0]) / "result.json").unlink()
    (filled.store.dir(filled.jobs("MAE", FINETUNE)[0]) / "result.json").unlink()
    supervised, random, _ = sentences(filled)
    assert supervised.endswith("; not compared in fine-tune top-1 (MAE has 1 of 2 seeds).")
    assert random.endswith(
        "; not compared in fine-tune top-1 (MAE has 1 of 2 seeds), "
        "linear top-1 (Rand has 1 of 2 seeds)."
    )


def test_a_published_spread_is_named_where_it_is_used(filled: Any) -> None:
    frame = long_frame(filled.plan, filled.store)
    once = frame[frame["seed"] == 0].assign(arch="vit_base_patch16")
    known = floor("imagenet-finetune", "top1", "vit_base_patch16")
    assert known is not None
    texts = notes(leaderboard(once))
    used = next(text for text in texts if text.startswith("Published spread over seeds (sd): "))
    assert "0.08 for fine-tune top-1 of vit_base_patch16" in used and known.source in used
    assert "by a published spread over seeds alone for 6" in " ".join(texts)


def test_columns_of_one_title_are_told_apart_by_their_variant(filled: Any) -> None:
    frame = long_frame(filled.plan, filled.store)
    wide = frame[frame["task"] == LINEAR].assign(variant="image size 448")
    supervised, *_ = notes(leaderboard(pd.concat([frame, wide])))
    assert "linear top-1 at image size 64 (−0.8 points" in supervised
    assert "linear top-1 at image size 448 (−0.8 points" in supervised
    assert "fine-tune top-1 (" in supervised


def test_without_baselines_there_is_nothing_to_say(bench: Callable[..., Any]) -> None:
    alone = bench((made_row("MAE", "mae", "demo", {}),), (Column(LINEAR, "demo"),))
    alone.fill("MAE", LINEAR, 50.0, 51.0)
    assert sentences(alone) == ["Intervals of the means: over seeds for 1."]


def test_holes_are_named_once_with_their_reason(filled: Any) -> None:
    for task in (FINETUNE, LINEAR, COCO):
        for job in filled.jobs("MAE", task):
            (filled.store.dir(job) / "result.json").unlink()
    filled.fail(filled.jobs("MAE", COCO)[0], "RuntimeError: boom")
    assert holes(long_frame(filled.plan, filled.store)) == [
        "No number for MAE in imagenet_finetune (seeds 0, 1), imagenet_linear (seeds 0, 1): "
        "interrupted",
        "No number for MAE in coco_vitdet (seed 0): failed: RuntimeError: boom",
    ]
    assert not any(text.startswith("MAE against") for text in sentences(filled))


def test_rows_that_are_the_same_jobs_are_named(bench: Callable[..., Any]) -> None:
    rows = tuple(made_row(label, "mae", "demo", {}) for label in ("A", "B"))
    twice = bench(rows, (Column(LINEAR, "demo"), Column(COCO, "demo")))
    assert doubles(long_frame(twice.plan, twice.store)) == [
        "A and B share jobs in imagenet_linear, coco_vitdet: "
        "the same number, not another one of it."
    ]


def test_a_result_that_is_not_believed_is_named_with_the_reason(filled: Any) -> None:
    old, other = filled.jobs("MAE", LINEAR)
    filled.finish(old, {"top1": 60.0}, schema=0)
    filled.finish(other, {"top1": 160.0})
    frame = long_frame(filled.plan, filled.store)
    assert frame[(frame["row"] == "MAE") & (frame["task"] == LINEAR)]["value"].isna().all()
    assert holes(frame) == [
        "No number for MAE in imagenet_linear (seed 0): interrupted: its result.json is not "
        "believed: it has schema 0, this version reads 1 and 2",
        "No number for MAE in imagenet_linear (seed 1): interrupted: its result.json is not "
        "believed: metric top1 must be in [0, 100] %, got 160.0",
    ]


def test_an_interval_without_0_that_correction_does_not_settle_is_said_so(filled: Any) -> None:
    # Alone t = 4 / 0.71 on 2 degrees of freedom, so p = 0.03; as one of several it is above 0.05.
    filled.fill("MAE", LINEAR, 66.0, 67.0)
    filled.fill("Sup", LINEAR, 62.0, 63.0)
    filled.fill("Rand", LINEAR, 65.0, 66.0)
    supervised, _, _ = sentences(filled)
    half = stats.t.ppf(0.975, 2) * 0.5 * math.sqrt(2)
    assert half < 4.0
    assert (
        "apart by itself, but not once corrected for being one of so many comparisons, in "
        "linear top-1 (+4.0 points, "
    ) in supervised
