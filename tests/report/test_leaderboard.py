import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mae_bench.core.owner import this_process
from mae_bench.core.turns import take
from mae_bench.report.frame import job_frame, long_frame
from mae_bench.report.leaderboard import leaderboard
from mae_bench.report.notes import holes
from mae_bench.report.table import score, signed
from mae_bench.suite.attempts import ATTEMPTS
from mae_bench.suite.store import sealed
from mae_bench.suite.suite import Column, Row, made_row

FINETUNE, LINEAR, COCO = "imagenet_finetune", "imagenet_linear", "coco_vitdet"


def cell(bench: Any, row: str, task: str, metric: str = "top1") -> pd.Series:
    board = leaderboard(long_frame(bench.plan, bench.store))
    found = board[(board["row"] == row) & (board["task"] == task) & (board["metric"] == metric)]
    assert len(found) == 1
    return found.iloc[0]


def test_mean_and_sample_sd_follow_their_closed_forms(filled: Any) -> None:
    one = cell(filled, "MAE", LINEAR)
    assert one["mean"] == 61.5
    assert math.isclose(one["sd"], 3.0 / math.sqrt(2.0), rel_tol=1e-15)
    assert score(one) == "61.5 ± 2.1"
    assert one["seconds"] == 25.0


def test_one_seed_shows_no_spread(filled: Any) -> None:
    one = cell(filled, "MAE", COCO, "box_ap")
    assert math.isnan(one["sd"])
    assert score(one) == "21.0"


def test_a_missing_seed_blanks_the_mean_and_shows_n_of_m(three: Any) -> None:
    first, _ = three.jobs("MAE", LINEAR)
    three.finish(first, {"top1": 60.0})
    one = cell(three, "MAE", LINEAR)
    assert math.isnan(one["mean"]) and math.isnan(one["sd"])
    assert score(one) == "1/2"
    assert one["why"] == "not run"


def test_nothing_run_is_nan_and_never_zero(three: Any, documented: Any) -> None:
    frame = long_frame(three.plan, three.store)
    assert frame["value"].isna().all()
    assert set(frame["state"]) == {"not run"}
    texts = [score(one) for one in leaderboard(frame).to_dict("records")]
    assert texts == ["0/2", "0/2", "0/1", "0/1"] * 3


def test_differences_are_to_the_supervised_and_the_random_row(filled: Any) -> None:
    one = cell(filled, "MAE", LINEAR)
    assert (one["delta_supervised"], one["delta_random"]) == (61.5 - 62.25, 61.5 - 32.0)
    own = cell(filled, "Rand", LINEAR)
    assert math.isnan(own["delta_random"]) and own["delta_supervised"] == 32.0 - 62.25


def test_differences_need_the_whole_baseline(filled: Any) -> None:
    job = filled.jobs("Rand", LINEAR)[1]
    (filled.store.dir(job) / "result.json").unlink()
    one = cell(filled, "MAE", LINEAR)
    assert one["mean"] == 61.5
    assert math.isnan(one["delta_random"])


def test_baselines_are_those_of_the_same_arch_and_known_by_origin(
    bench: Callable[..., Any],
) -> None:
    rows = tuple(
        made_row(f"{letter} {size}", recipe, "demo", {"arch": arch}, seeds="each")
        for size, arch in (("S", "vit_demo_patch8"), ("T", "vit_smoke_patch8"))
        for letter, recipe in (("random", "mae"), ("x", "random_init"), ("y", "supervised"))
    )
    two = bench(rows, (Column(LINEAR, "demo"),))
    for i, row in enumerate(rows):
        two.fill(row.label, LINEAR, 10.0 * i, 10.0 * i)
    small, tiny = cell(two, "random S", LINEAR), cell(two, "random T", LINEAR)
    assert (small["delta_random"], small["delta_supervised"]) == (-10.0, -20.0)
    assert (tiny["delta_random"], tiny["delta_supervised"]) == (30.0 - 40.0, 30.0 - 50.0)


def test_an_own_cell_is_the_metric_of_the_rows_pretraining(three: Any) -> None:
    first, second = three.jobs("Sup", FINETUNE)
    assert first.recipe.name == "supervised" and first.source is None
    three.finish(first, {"top1": 76.0})
    three.finish(second, {"top1": 78.0})
    one = cell(three, "Sup", FINETUNE)
    assert (one["mean"], one["keys"]) == (77.0, f"{first.key} {second.key}")
    assert one["title"] == "fine-tune top-1"
    assert three.jobs("Sup", LINEAR)[0].source == first


def test_an_own_cell_whose_metric_the_row_does_not_measure_is_refused(
    bench: Callable[..., Any],
) -> None:
    with pytest.raises(ValueError, match=r"own of 'MAE' names imagenet_linear, whose top1"):
        bench((made_row("MAE", "mae", "demo", {}, own=(LINEAR,)),), (Column(LINEAR, "demo"),))


def test_a_failed_job_is_a_hole_with_its_reason(filled: Any) -> None:
    job = filled.jobs("MAE", COCO)[0]
    (filled.store.dir(job) / "result.json").unlink()
    filled.fail(job, "FloatingPointError: loss is nan at step 7")
    for metric in ("box_ap", "mask_ap"):
        one = cell(filled, "MAE", COCO, metric)
        assert one["why"] == "failed: FloatingPointError: loss is nan at step 7"
        assert score(one) == "0/1"


def test_jobs_of_a_failed_source_are_blocked(three: Any) -> None:
    job = three.jobs("MAE", LINEAR)[0]
    three.fail(job.source, "OSError: disk full")
    jobs = job_frame(three.plan, three.store).set_index("key")
    assert jobs.loc[job.source.key, "state"] == "failed"
    assert jobs.loc[job.key, "state"] == "blocked"
    assert jobs.loc[job.key, "reason"] == "mae of MAE (seed 0) failed"
    assert set(jobs[jobs["row"] == "Rand"]["state"]) == {"not run"}


def test_what_the_machine_blocks_is_said_unless_the_number_is_there(filled: Any) -> None:
    there, gone = filled.jobs("MAE", COCO)[0], filled.jobs("Sup", COCO)[0]
    (filled.store.dir(gone) / "result.json").unlink()
    reasons = {there.key: "detectron2 is missing", gone.key: "detectron2 is missing"}
    jobs = job_frame(filled.plan, filled.store, reasons).set_index("key")
    assert jobs.loc[there.key, "state"] == "done"
    assert tuple(jobs.loc[gone.key, ["state", "reason"]]) == ("blocked", "detectron2 is missing")


def test_an_interrupted_job_and_a_running_one_are_told_apart(three: Any) -> None:
    one, other = three.jobs("MAE", LINEAR)
    for job in (one, other):
        three.store.dir(job).mkdir(parents=True)
    take(three.store.dir(one) / ATTEMPTS, 0, this_process())
    jobs = job_frame(three.plan, three.store).set_index("key")
    assert jobs.loc[one.key, "state"] == "running"
    assert jobs.loc[other.key, "state"] == "interrupted"


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "0123456789abcdef"},
        {"metrics": {"top1": float("nan")}},
        {"metrics": {"top1": 100.5}},
        {"metrics": {"top5": 60.0}},
        {"schema": 0},
    ],
)
def test_a_result_that_cannot_be_believed_never_gets_in(
    filled: Any, changes: dict[str, Any]
) -> None:
    filled.finish(filled.jobs("MAE", LINEAR)[0], {"top1": 60.0}, **changes)
    one = cell(filled, "MAE", LINEAR)
    assert score(one) == "1/2"
    assert math.isnan(one["mean"])


def test_a_number_edited_by_hand_never_gets_in_and_the_table_names_it(filled: Any) -> None:
    job = filled.jobs("MAE", LINEAR)[0]
    path = filled.store.dir(job) / "result.json"
    path.write_text(json.dumps(sealed(json.loads(path.read_text()))))
    assert cell(filled, "MAE", LINEAR)["mean"] == 61.5
    path.write_text(path.read_text().replace('"top1": 60.0', '"top1": 99.0'))
    one = cell(filled, "MAE", LINEAR)
    assert score(one) == "1/2" and math.isnan(one["delta_supervised"]) and not one["best"]
    (text,) = holes(long_frame(filled.plan, filled.store))
    assert text == (
        "No number for MAE in imagenet_linear (seed 0): interrupted: its result.json is not "
        "believed: it was changed after it was written"
    )


def test_a_result_of_other_fields_stays_out(bench: Callable[..., Any]) -> None:
    row = made_row("MAE", "mae", "demo", {})
    before = bench((row,), (Column(LINEAR, "demo", {"epochs": 3}),))
    before.fill("MAE", LINEAR, 50.0, 52.0)
    after = bench((row,), (Column(LINEAR, "demo", {"epochs": 4}),))
    assert score(cell(before, "MAE", LINEAR)) == "51.0 ± 1.4"
    assert score(cell(after, "MAE", LINEAR)) == "0/2"


def test_a_checkpoint_row_needs_no_pretraining_job(
    bench: Callable[..., Any], tmp_path: Path
) -> None:
    file = tmp_path / "theirs.pth"
    file.write_bytes(b"weights")
    row = Row("Theirs", None, file, arch="vit_demo_patch8", origin="foreign")
    one = bench((row,), (Column(LINEAR, "demo"),))
    one.fill("Theirs", LINEAR, 50.0, 52.0)
    assert score(cell(one, "Theirs", LINEAR)) == "51.0 ± 1.4"
    jobs = job_frame(one.plan, one.store)
    # from: printf weights | sha256sum
    assert set(jobs["source"]) == {"file 9a129038d9a00aed"}
    assert set(jobs["recipe"]) == {LINEAR}


def test_encoder_facts_come_from_the_results(three: Any) -> None:
    source = three.jobs("MAE", LINEAR)[0].source
    three.finish(source, {"loss": 0.5})
    made, unmade = cell(three, "MAE", LINEAR), cell(three, "Rand", LINEAR)
    assert (made["params"], made["flops"], made["arch"]) == (807_936, 52_000_000, "vit_demo_patch8")
    assert math.isnan(unmade["params"]) and unmade["arch"] == "vit_demo_patch8"


def test_signs_are_shown_and_a_rounded_zero_has_none() -> None:
    assert [signed(v, 1) for v in (1.25, -3.0, -0.04, 0.0)] == ["+1.2", "−3.0", "0.0", "0.0"]
    assert signed(float("nan"), 1) == ""


def test_every_job_of_the_plan_has_a_line_with_its_seconds(filled: Any) -> None:
    jobs = job_frame(filled.plan, filled.store)
    assert list(jobs["key"]) == [job.key for job in filled.plan.jobs]
    assert set(jobs[jobs["state"] == "done"]["seconds"]) == {12.5}
    assert json.loads(jobs[jobs["recipe"] == COCO]["numbers"].to_json(orient="values"))[0] == (
        "COCO box AP 21.0 %, COCO mask AP 21.0 %"
    )
