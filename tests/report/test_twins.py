import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy import stats

from mae_bench.core.recipe import Scalar
from mae_bench.report.frame import long_frame
from mae_bench.report.leaderboard import leaderboard
from mae_bench.report.noise import floor
from mae_bench.report.published import published
from mae_bench.report.twins import with_twins
from mae_bench.suite.suite import Column, Row, made_row

FINETUNE, LINEAR, FPN, VITDET, ADE20K = (
    "imagenet_finetune",
    "imagenet_linear",
    "coco_maskrcnn_fpn",
    "coco_vitdet",
    "ade20k_upernet",
)
BASE = {"arch": "vit_base_patch16"}


@pytest.fixture
def measured(bench: Callable[..., Any]) -> Callable[..., pd.Series]:
    """Return a function: row, column, values of the seeds, stamps -> the cell with its twin."""

    def make(
        row: Row, column: Column, values: tuple[float, ...], made: Any = "paper", ran: Any = "paper"
    ) -> pd.Series:
        one = bench((row,), (column,))
        for job, value in zip(one.jobs(row.label, column.task), values, strict=True):
            numbers = {metric.name: value for metric in job.recipe.metrics}
            one.finish(job, numbers, fidelity=ran)
            source = one.plan.source_of(job)
            if source is not None:
                its = {metric.name: 0.5 for metric in source.recipe.metrics}
                one.finish(source, its, fidelity=made)
        frame = long_frame(one.plan, one.store)
        return with_twins(leaderboard(frame), frame, published()).iloc[0]

    return make


def row(name: str = "mae", **fields: Scalar) -> Row:
    return made_row("Ours", name, "published", BASE | fields)


def test_the_papers_own_number_stands_first_and_others_behind(measured: Any) -> None:
    one = measured(row(), Column(FINETUNE), (83.5, 83.9))
    assert one["published"] == 83.6
    assert one["published_by"] == "He et al. 2021, arXiv 2111.06377, Table 3"
    assert math.isclose(one["delta_published"], 83.7 - 83.6, rel_tol=1e-9)
    for other in ("83.664 (MAE (released checkpoint)", "83.5 (MAE (mmpretrain)", "83.45 (MAE (ind"):
        assert other in one["published_note"]


def test_noise_is_that_of_our_seeds_and_the_published_spread_together(
    measured: Any,
) -> None:
    spread = floor("imagenet-finetune", "top1", "vit_base_patch16")
    assert spread is not None
    ours = stats.t.ppf(0.975, 1) * stats.sem([-0.01, 0.01])
    half = math.hypot(ours, stats.norm.ppf(0.975) * spread.sd)
    half += 0.05  # 83.6 may stand for 83.55
    for shift, verdict in ((-0.99 * half, "within noise"), (1.01 * half, "outside noise")):
        mean = 83.6 + shift
        one = measured(row(), Column(FINETUNE), (mean - 0.01, mean + 0.01))
        assert one["agreement"] == verdict, shift


@pytest.mark.parametrize(
    "stamps", [(["epochs 2"], "paper"), ("paper", ["epochs 2"]), ((), "paper")]
)
def test_there_is_no_verdict_where_encoder_or_task_were_not_run_as_published(
    measured: Any, stamps: tuple[Any, Any]
) -> None:
    one = measured(row(), Column(FINETUNE), (83.5, 83.7), *stamps)
    assert one["published"] == 83.6 and not math.isnan(one["delta_published"])
    assert one["agreement"] == ""


def test_one_seed_varies_as_the_published_run_does(measured: Any) -> None:
    spread = floor("imagenet-finetune", "top1", "vit_base_patch16")
    assert spread is not None
    half = stats.norm.ppf(0.975) * spread.sd * math.sqrt(2) + 0.05
    for shift, verdict in ((0.99 * half, "within noise"), (-1.01 * half, "outside noise")):
        one = measured(row(), Column(FINETUNE, seeds=(0,)), (83.6 + shift,))
        assert one["agreement"] == verdict, shift


def test_there_is_no_verdict_where_no_spread_over_seeds_is_known(measured: Any) -> None:
    one = measured(row(), Column(LINEAR, seeds=(0,)), (68.5,))
    assert (one["published"], one["delta_published"], one["agreement"]) == (68.0, 0.5, "")


@pytest.mark.parametrize(
    ("made", "column", "value", "by"),
    [
        (row(epochs=800), FINETUNE, 83.3, "open-mmlab/mmpretrain, configs/mae/README.md"),
        (row(norm_pix=False), FINETUNE, 83.3, "He et al. 2021, arXiv 2111.06377, Table 7"),
        (row("random_init"), FPN, 48.9, "Li et al. 2021, arXiv 2111.11429, Section 4.1"),
        (row("moco_v3"), LINEAR, 76.5, "Chen et al. 2021 (MoCo v3), arXiv 2104.02057, Table 4"),
        (row("moco_v3"), FINETUNE, 83.2, "He et al. 2021, arXiv 2111.06377, Table 3"),
        (row("moco_v3"), FPN, 47.9, "He et al. 2021, arXiv 2111.06377, Table 4"),
        (row("moco_v3"), ADE20K, 47.3, "He et al. 2021, arXiv 2111.06377, Table 5"),
        (row("simclr"), LINEAR, 73.9, "Chen et al. 2021 (MoCo v3), arXiv 2104.02057, Table 4"),
        (row("byol"), LINEAR, 73.9, "Chen et al. 2021 (MoCo v3), arXiv 2104.02057, Table 4"),
        (row("supervised"), FPN, 47.9, "He et al. 2021, arXiv 2111.06377, Table 4"),
    ],
)
def test_a_twin_has_the_same_method_and_length(
    measured: Any, made: Row, column: str, value: float, by: str
) -> None:
    one = measured(made, Column(column), (50.0, 50.0))
    assert (one["published"], one["published_by"]) == (value, by)


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({}, 51.6),
        ({"relative_positions": False}, 51.2),
        ({"image_size": 512}, None),
        ({"image_size": 512, "relative_positions": False}, None),
    ],
)
def test_a_twin_follows_the_same_rules(measured: Any, fields: Any, value: float | None) -> None:
    one = measured(row(), Column(VITDET, fields=fields), (50.0, 50.0))
    assert (None if math.isnan(one["published"]) else one["published"]) == value


def test_a_shorter_schedule_is_held_against_its_own_number(measured: Any) -> None:
    short = measured(row(), Column(FPN, fields={"iterations": 46093}), (48.0, 48.2))
    usual = measured(row(), Column(FPN), (50.0, 50.2))
    assert (short["published"], usual["published"]) == (48.1, 50.3)


@pytest.mark.parametrize(
    ("made", "column"),
    [
        (row(epochs=370), FINETUNE),
        (row("random_init"), FINETUNE),
        (made_row("Ours", "mae", "demo", {}), FINETUNE),
        (row("moco_v3", epochs=100), LINEAR),
        (row("moco_v3", freeze_patch_embed=False), LINEAR),
        (row("moco_v3", arch="vit_small_patch16"), LINEAR),
        (row("simsiam"), LINEAR),
        (row("moco_v2"), LINEAR),
    ],
)
def test_no_twin_where_nobody_published_one(measured: Any, made: Row, column: str) -> None:
    one = measured(made, Column(column), (50.0, 50.0))
    assert math.isnan(one["published"]) and math.isnan(one["delta_published"])
    assert (one["published_by"], one["published_note"], one["agreement"]) == ("", "", "")


@pytest.mark.parametrize(
    ("arch", "value"), [("vit_huge_patch14", 86.9), ("vit_large_patch16", None)]
)
def test_an_encoder_of_unknown_length_has_a_twin_only_if_it_can_be_no_other(
    measured: Any, tmp_path: Path, arch: str, value: float | None
) -> None:
    file = tmp_path / "theirs.pth"
    file.write_bytes(b"weights")
    theirs = Row("Ours", None, file, arch=arch, origin="mae")
    one = measured(theirs, Column(FINETUNE), (86.8, 87.0))
    assert (None if math.isnan(one["published"]) else one["published"]) == value
    doubted = "how long ours was pretrained is not known; theirs was 1600 epochs"
    assert (doubted in one["published_note"]) == (value is not None)
    assert one["agreement"] == ""


def test_an_encoder_of_another_method_is_held_against_that_method(
    measured: Any, tmp_path: Path
) -> None:
    file = tmp_path / "theirs.pth"
    file.write_bytes(b"weights")
    dino = Row("Ours", None, file, arch="vit_base_patch16", origin="dino")
    assert measured(dino, Column(LINEAR), (78.0, 78.2))["published"] == 78.2
    own = measured(
        Row("Ours", None, file, "vit_base_patch16", "foreign"), Column(LINEAR), (1.0, 2.0)
    )
    assert math.isnan(own["published"])
