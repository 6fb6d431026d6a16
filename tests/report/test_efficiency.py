import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mae_bench.report.efficiency import efficiency, efficiency_table
from mae_bench.report.frame import long_frame
from mae_bench.report.leaderboard import leaderboard
from mae_bench.report.published import published
from mae_bench.report.rows import columns_of, numbers_of_others, rows_of_others
from mae_bench.report.table import plain, three
from mae_bench.suite.suite import Column, Row, made_row

FINETUNE, LINEAR, COCO = "imagenet_finetune", "imagenet_linear", "coco_vitdet"
NAMES = ("A", "B", "C", "D", "E", "F", "G", "H")


def finish(bench: Any, job: Any, value: float, hours: float, device: str, ranks: int = 1) -> None:
    """Finish a job with that value of each metric, after that many hours of all ranks together."""
    about = {"device": device, "ranks": ranks, "facts": {}}
    metrics = {metric.name: value for metric in job.recipe.metrics}
    bench.finish(job, metrics, seconds=hours * 3600 / ranks, provenance=about)


def costs(bench: Any) -> pd.DataFrame:
    frame = long_frame(bench.plan, bench.store)
    return efficiency(frame, leaderboard(frame))


def line(bench: Any, row: str, task: str) -> Any:
    found = costs(bench)
    return found[(found["row"] == row) & (found["task"] == task)].iloc[0]


def row_of(name: str) -> Row:
    """Return a row that has its encoder to itself."""
    return made_row(name, "mae", "demo", {"epochs": 10 + NAMES.index(name)})


@pytest.fixture
def chosen(bench: Callable[..., Any]) -> Any:
    """Return a bench of eight rows with random numbers and hours, some of them the same."""
    rows = tuple(row_of(name) for name in NAMES)
    made = bench(rows, (Column(LINEAR, "demo", seeds=(0,)),))
    draw = random.Random(7)
    for name in NAMES:
        (job,) = made.jobs(name, LINEAR)
        finish(made, job.source, 1.0, float(draw.randint(1, 4)), "V100")
        finish(made, job, float(draw.randint(50, 54)), 1.0, "V100")
    return made


def test_hours_are_wall_time_of_all_ranks_and_of_the_encoder_too(three: Any) -> None:
    for job, hours in zip(three.jobs("MAE", LINEAR), (2.0, 4.0), strict=True):
        finish(three, job, 60.0, hours, "H200", ranks=8)
    finish(three, three.jobs("MAE", LINEAR)[0].source, 1.0, 10.0, "H200", ranks=4)
    one = line(three, "MAE", LINEAR)
    names = ["pretraining_gpu_hours", "transfer_gpu_hours", "total_gpu_hours"]
    assert list(one[names]) == pytest.approx([10.0, 3.0, 13.0])
    assert (one["device"], one["hours_from"]) == ("H200", "measured")


def test_where_pretraining_is_the_measurement_there_is_no_transfer(three: Any) -> None:
    for job in three.jobs("Sup", FINETUNE):
        finish(three, job, 80.0, 5.0, "H200")
    one = line(three, "Sup", FINETUNE)
    assert (one["pretraining_gpu_hours"], one["transfer_gpu_hours"]) == (5.0, 0.0)
    assert one["total_gpu_hours"] == 5.0


def test_hours_on_different_devices_are_not_summed(three: Any) -> None:
    (job,) = three.jobs("MAE", COCO)
    finish(three, job.source, 1.0, 10.0, "V100")
    finish(three, job, 20.0, 5.0, "H200")
    one = line(three, "MAE", COCO)
    assert pd.isna(one["total_gpu_hours"]) and not one["front"]
    assert (one["device"], one["pretraining_device"]) == ("H200 + V100", "V100")
    assert one["hours_from"] == "measured; not summed, since on different devices"


def test_hours_on_a_device_that_nobody_noted_are_not_summed(three: Any) -> None:
    (job,) = three.jobs("MAE", COCO)
    finish(three, job.source, 1.0, 10.0, "")
    finish(three, job, 20.0, 5.0, "H200")
    one = line(three, "MAE", COCO)
    assert pd.isna(one["total_gpu_hours"])
    assert one["hours_from"] == "measured, but not on what device"


def test_a_moment_on_another_device_does_not_forbid_the_sum(three: Any) -> None:
    (job,) = three.jobs("Rand", COCO)
    finish(three, job.source, 0.0, 0.01, "a CPU")
    finish(three, job, 20.0, 5.0, "H200")
    one = line(three, "Rand", COCO)
    assert (one["total_gpu_hours"], one["device"]) == (5.01, "H200")


def test_the_cost_of_an_encoder_from_elsewhere_is_not_known(
    bench: Callable[..., Any], tmp_path: Path
) -> None:
    file = tmp_path / "theirs.pth"
    file.write_bytes(b"weights")
    made = bench(
        (Row("Theirs", None, file, arch="vit_demo_patch8", origin="foreign"),),
        (Column(LINEAR, "demo", seeds=(0,)), Column("imagenet_robustness", "demo", seeds=(0,))),
    )
    for task in (LINEAR, "imagenet_robustness"):
        (job,) = made.jobs("Theirs", task)
        finish(made, job, 50.0, 1.0, "V100")
    (robust,) = made.jobs("Theirs", "imagenet_robustness")
    finish(made, robust.source, 50.0, 1.0, "V100")
    found = costs(made)
    assert found["total_gpu_hours"].isna().all() and found["pretraining_gpu_hours"].isna().all()
    assert set(found["hours_from"]) == {"not known: the encoder was made elsewhere"}
    assert list(found["transfer_gpu_hours"]) == [1.0] * len(found)


def test_the_front_is_what_nothing_beats(chosen: Any) -> None:
    found = costs(chosen)
    pairs = list(zip(found["mean"], found["total_gpu_hours"], strict=True))
    assert len(pairs) == len(NAMES) > len(set(pairs))  # ties are among them
    for (mean, total), front in zip(pairs, found["front"], strict=True):
        beaten = any(m >= mean and t <= total and (m, t) != (mean, total) for m, t in pairs)
        assert front == (not beaten)


def test_the_relative_cost_is_to_the_cheapest_that_is_as_good(chosen: Any) -> None:
    found = costs(chosen).set_index("row")
    for _, one in found.iterrows():
        least = found.loc[found["mean"] >= one["mean"], "total_gpu_hours"].min()
        assert one["relative_cost"] == one["total_gpu_hours"] / least
        assert found.loc[one["cheapest"], "total_gpu_hours"] == least
        assert found.loc[one["cheapest"], "mean"] >= one["mean"]


def test_where_less_is_better_the_front_turns_round(chosen: Any) -> None:
    frame = long_frame(chosen.plan, chosen.store)
    turned = frame.assign(value=100 - frame["value"], higher_is_better=False)
    before, after = efficiency(frame, leaderboard(frame)), efficiency(turned, leaderboard(turned))
    assert list(before["front"]) == list(after["front"])
    assert list(before["cheapest"]) == list(after["cheapest"])


def test_fronts_are_kept_for_each_device(chosen: Any) -> None:
    (job,) = chosen.jobs("A", LINEAR)
    for one in (job.source, job):
        finish(chosen, one, 1.0, 100.0, "H200")
    one = line(chosen, "A", LINEAR)
    assert (one["front"], one["relative_cost"], one["cheapest"]) == (True, 1.0, "A")


def test_a_number_that_is_not_there_costs_nothing_and_has_no_line(chosen: Any) -> None:
    (job,) = chosen.jobs("B", LINEAR)
    (chosen.store.dir(job) / "result.json").unlink()
    assert "B" not in set(costs(chosen)["row"])


def test_published_hours_belong_to_the_numbers_of_their_sources(bench: Callable[..., Any]) -> None:
    row = made_row("MAE L", "mae", "published", {"arch": "vit_large_patch16"})
    made = bench((row,), (Column(FINETUNE, seeds=(0,)),))
    frame = long_frame(made.plan, made.store)
    columns = columns_of(frame)
    others = numbers_of_others(rows_of_others(frame, columns, published()), columns)
    found = efficiency(frame, leaderboard(frame), others)
    known = found.dropna(subset="total_gpu_hours")
    assert list(known["mean"]) == [85.4]  # MAE after 800 epochs, not the 1600 of Table 3
    assert known["total_gpu_hours"].iloc[0] == pytest.approx(42 * 64 + 532 / 60 * 32)
    assert known["device"].iloc[0] == "V100"
    assert "PRETRAIN.md" in known["hours_from"].iloc[0]
    assert len(found) > 5  # BEiT, MoCo v3 and others, of unknown cost


def test_the_table_leaves_out_what_has_no_total_and_marks_the_front(chosen: Any) -> None:
    found = costs(chosen)
    table = efficiency_table(found)
    assert table is not None
    assert [cell[2].best for cell in table.lines] == list(found["front"])
    assert "on the front" in plain(table)
    found["total_gpu_hours"] = float("nan")
    assert efficiency_table(found) is None


def test_hours_have_three_digits_that_count() -> None:
    assert [three(h) for h in (0.001234, 2.5, 38.46, 2971.7, float("nan"))] == [
        "0.00123",
        "2.5",
        "38.5",
        "2,972",
        "",
    ]
