from collections.abc import Callable
from typing import Any

import pytest

from mae_bench.report.beside import notes_on_others
from mae_bench.report.frame import long_frame
from mae_bench.report.published import published, read_references
from mae_bench.report.rows import (
    Row,
    columns_of,
    deviations_of,
    numbers_of_others,
    order,
    own_rows,
    rows_of_others,
)
from mae_bench.suite.suite import Column, made_row

FINETUNE, LINEAR, FPN, VITDET = (
    "imagenet_finetune",
    "imagenet_linear",
    "coco_maskrcnn_fpn",
    "coco_vitdet",
)
HEAD = "method,backbone,pretrain_epochs,protocol,metric,value,source"


@pytest.fixture
def base(bench: Callable[..., Any]) -> Any:
    """Return a suite of a published size without a random init, nothing run."""
    size = {"arch": "vit_base_patch16"}
    rows = (
        made_row("MAE", "mae", "published", size),
        made_row("Sup", "supervised", "published", size),
    )
    return bench(rows, (Column(LINEAR), Column(FPN, seeds=(0,)), Column(VITDET, seeds=(0,))))


def others(bench: Any, *mine: str) -> list[Row]:
    frame = long_frame(bench.plan, bench.store)
    own = read_references("\n".join([HEAD, *mine]), "mine.csv", "imported") if mine else ()
    return rows_of_others(frame, columns_of(frame), (*published(), *own))


def test_others_stand_only_in_columns_of_their_rules_and_beside_their_own_size(base: Any) -> None:
    rows = others(base)
    columns = {"imagenet_linear.top1", "coco_maskrcnn_fpn.box_ap", "coco_maskrcnn_fpn.mask_ap"}
    columns |= {"coco_vitdet.box_ap", "coco_vitdet.mask_ap"}
    assert {column for row in rows for column in row.numbers} == columns
    assert {row.arch for row in rows} == {"vit_base_patch16"}
    assert {row.kind for row in rows} == {"published"}
    in_vitdet = [row.row for row in rows if "coco_vitdet.box_ap" in row.numbers]
    assert in_vitdet == ["MAE vit_b16, 1600 epochs (Li et al. 2022 (ViTDet))"]


def test_a_row_of_others_is_one_method_length_and_source(base: Any) -> None:
    rows = {row.row: row for row in others(base)}
    assert len(rows) == len(others(base))
    paper = rows["MAE vit_b16, 1600 epochs (He et al. 2021)"]
    values = {column: number.value for column, number in paper.numbers.items()}
    assert values == {
        "imagenet_linear.top1": 68.0,
        "coco_maskrcnn_fpn.box_ap": 50.3,
        "coco_maskrcnn_fpn.mask_ap": 44.9,
    }
    assert (paper.location, paper.epochs) == ("Table 12; Table 4", 1600.0)


def test_demo_sizes_have_nobody_beside_them(filled: Any) -> None:
    assert others(filled) == []
    frame = long_frame(filled.plan, filled.store)
    said = notes_on_others(columns_of(frame), own_rows(frame, {}))
    assert said[0] == (
        "No published numbers stand beside ours: none are of vit_demo_patch8 by these rules."
    )


def test_numbers_after_a_shorter_schedule_are_a_row_of_their_own(bench: Callable[..., Any]) -> None:
    row = made_row("MAE", "mae", "published", {"arch": "vit_base_patch16"})
    short = bench((row,), (Column(FPN, fields={"iterations": 46093}),))
    assert [(one.row, one.numbers["coco_maskrcnn_fpn.box_ap"].value) for one in others(short)] == [
        ("MAE vit_b16, 1600 epochs, 25ep (facebookresearch/mae issue 43)", 48.1)
    ]


def test_imported_numbers_get_rows_with_names_of_their_own(base: Any) -> None:
    line = "MAE,vit_b16,1600,imagenet-linear,top1,67.0,He et al. 2021"
    clash = "Sup,vit_base_patch16,,coco-vitdet,box_ap,50.5,us"
    mine = [row for row in others(base, line, clash) if row.kind == "imported"]
    assert [row.row for row in mine] == [
        "MAE vit_b16, 1600 epochs (He et al. 2021) 2",
        "Sup vit_base_patch16 (us)",
    ]


def test_a_missing_random_init_is_said_and_the_published_one_stands_for_it(base: Any) -> None:
    frame = long_frame(base.plan, base.store)
    columns = columns_of(frame)
    said = notes_on_others(columns, [*own_rows(frame, {}), *others(base)])
    assert any("random init reaches 48.9 box AP" in one for one in said)
    assert [one for one in said if "has no random_init row" in one] == [
        "COCO box AP (FPN), COCO mask AP (FPN): the suite has no random_init row of "
        "vit_base_patch16; random init vit_b16 (Li et al. 2021) stands in its place.",
        "COCO box AP, COCO mask AP: the suite has no random_init row of vit_base_patch16; nor is "
        "one published by these rules.",
    ]


def test_a_suite_with_random_init_misses_nothing(filled: Any) -> None:
    frame = long_frame(filled.plan, filled.store)
    said = notes_on_others(columns_of(frame), own_rows(frame, {}))
    assert not [one for one in said if "has no random_init row" in one]


def test_a_rows_stamp_is_of_its_jobs_and_of_its_encoders(base: Any) -> None:
    (job,) = set(base.jobs("MAE", FPN))
    base.finish(job, {"box_ap": 50.0, "mask_ap": 44.0}, fidelity="paper")
    assert deviations_of(base.plan, base.store) == {"MAE": [], "Sup": None}
    base.finish(job.source, {"loss": 0.5}, fidelity=["epochs 2, published 1600"])
    found = deviations_of(base.plan, base.store)
    assert found == {"MAE": ["mae: epochs 2, published 1600"], "Sup": None}
    rows = own_rows(long_frame(base.plan, base.store), found)
    assert [(row.row, row.stamp) for row in rows] == [("MAE", "deviates"), ("Sup", "")]


def test_sizes_stand_together_ours_first_and_what_deviates_last() -> None:
    rows = [
        ("ours", "small", "paper"),
        ("ours", "large", "paper"),
        ("ours", "small", "deviates"),
        ("ours", "huge", "deviates"),
        ("published", "huge", ""),
        ("published", "small", ""),
        ("ours", "small", ""),
    ]
    assert order(rows) == [0, 6, 5, 1, 2, 3, 4]


def test_numbers_of_others_are_a_line_each(base: Any) -> None:
    frame = long_frame(base.plan, base.store)
    rows = others(base)
    lines = numbers_of_others(rows, columns_of(frame))
    assert len(lines) == sum(len(row.numbers) for row in rows)
    one = lines[(lines["metric"] == "box_ap") & (lines["task"] == VITDET)].iloc[0]
    assert (one["mean"], one["epochs"], one["origin"]) == (51.6, 1600.0, "mae")
