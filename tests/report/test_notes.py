from collections.abc import Callable
from typing import Any

from mae_bench.report.frame import long_frame
from mae_bench.report.leaderboard import leaderboard
from mae_bench.report.notes import doubles, holes, notes
from mae_bench.suite.suite import Column, made_row

FINETUNE, LINEAR, COCO = "imagenet_finetune", "imagenet_linear", "coco_vitdet"


def sentences(bench: Any) -> list[str]:
    return notes(leaderboard(long_frame(bench.plan, bench.store)))


def test_a_gain_is_set_beside_the_spread_over_seeds(filled: Any) -> None:
    # pooled: random sqrt((4.5 + 8) / 2) = 2.5, supervised sqrt((4.5 + 0.125) / 2) = 1.52
    assert sentences(filled)[1] == (
        "linear top-1: MAE is 29.5 points better than Rand (more than the spread over seeds, 2.5) "
        "and 0.8 points worse than Sup (within the spread over seeds, 1.5). "
        "This column does not favour MAE over Sup."
    )


def test_a_column_that_does_not_favour_mae_says_so(filled: Any) -> None:
    fine_tune, _, box, _ = sentences(filled)
    assert "MAE is level with Rand (within the spread over seeds, 1.8)" in fine_tune
    assert fine_tune.endswith("This column does not favour MAE over Rand.")
    assert box == (
        "COCO box AP: MAE is 1.0 points worse than Rand (one seed, spread unknown) and "
        "1.0 points better than Sup (one seed, spread unknown). "
        "This column does not favour MAE over Rand."
    )


def test_a_lower_number_favours_mae_where_lower_is_better(filled: Any) -> None:
    frame = long_frame(filled.plan, filled.store)
    frame["higher_is_better"] = False
    box = notes(leaderboard(frame))[2]
    assert "MAE is 1.0 points better than Rand" in box
    assert box.endswith("This column does not favour MAE over Sup.")


def test_missing_seeds_are_compared_with_nothing(filled: Any) -> None:
    (filled.store.dir(filled.jobs("Rand", LINEAR)[0]) / "result.json").unlink()
    (filled.store.dir(filled.jobs("MAE", FINETUNE)[0]) / "result.json").unlink()
    fine_tune, linear, *_ = sentences(filled)
    assert fine_tune == "fine-tune top-1: MAE has 1 of 2 seeds, so nothing is compared."
    assert "MAE is not compared with Rand (1 of 2 seeds)" in linear


def test_without_baselines_there_is_nothing_to_say(bench: Callable[..., Any]) -> None:
    alone = bench((made_row("MAE", "mae", "demo", {}),), (Column(LINEAR, "demo"),))
    alone.fill("MAE", LINEAR, 50.0, 51.0)
    assert sentences(alone) == []


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
    assert sentences(filled) == []


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
