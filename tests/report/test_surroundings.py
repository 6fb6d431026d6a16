import json
from typing import Any

from mae_bench.report.surroundings import mixed, surroundings
from mae_bench.report.write import write_report

FINETUNE, LINEAR, COCO = "imagenet_finetune", "imagenet_linear", "coco_vitdet"


def made_of(bench: Any) -> list[Any]:
    return [(job, r) for job in bench.plan.jobs if (r := bench.store.result(job)) is not None]


def make(torch: str, device: str, **versions: str) -> dict[str, Any]:
    return {"versions": {"torch": torch, **versions}, "git": "abc1234", "device": device}


def refill(bench: Any, row: str, provenance: dict[str, Any]) -> None:
    """Give every result of a row another provenance."""
    for job in bench.plan.jobs:
        result = bench.store.result(job)
        if job.row == row and result is not None:
            bench.finish(job, result.metrics, provenance=provenance)


def test_one_number_of_another_version_is_named_by_its_job(filled: Any) -> None:
    job = filled.jobs("MAE", LINEAR)[0]
    filled.finish(job, {"top1": 60.0}, provenance=make("2.12.0", "CPU X"))
    assert surroundings(made_of(filled)) == [
        "Made with CPU X, torch 2.11.0 and 2.12.0, revision abc1234.",
        "Mixed versions: torch 2.12.0 for MAE (imagenet_linear seed 0), 2.11.0 elsewhere.",
    ]
    assert surroundings([]) == []


def test_a_whole_row_of_another_version_or_gpu_is_named_as_a_row(filled: Any) -> None:
    for row in ("MAE", "Sup"):
        refill(filled, row, make("2.11.0", "H200", timm="1.0"))
    refill(filled, "Rand", make("2.12.0", "A100", timm="1.0"))
    assert mixed(made_of(filled)) == [
        "Mixed versions: device A100 for Rand, H200 elsewhere.",
        "Mixed versions: torch 2.12.0 for Rand, 2.11.0 elsewhere.",
    ]


def test_every_form_of_the_table_says_that_versions_are_mixed(filled: Any, tmp_path: Any) -> None:
    filled.finish(
        filled.jobs("Rand", COCO)[0],
        {"box_ap": 1.0, "mask_ap": 1.0},
        provenance=make("2.12.0", "Y"),
    )
    report = write_report(filled.plan, filled.store, tmp_path / "results")
    sentence = report.main_table.splitlines()[-1]
    assert sentence == (
        "Mixed versions: torch 2.12.0 for Rand (coco_vitdet seed 0), 2.11.0 elsewhere."
    )
    assert sentence in json.loads((tmp_path / "results/leaderboard.json").read_text())["notes"]
    assert sentence in (tmp_path / "results/index.html").read_text()
    assert "torch 2.12.0 for Rand" in (tmp_path / "results/leaderboard.md").read_text()


def test_a_table_of_one_version_says_nothing(filled: Any) -> None:
    assert mixed(made_of(filled)) == []
