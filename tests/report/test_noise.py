import csv

import pytest

from mae_bench.core.registry import TASKS, load
from mae_bench.report.noise import FILE, floor

BASE, LARGE = "vit_base_patch16", "vit_large_patch16"


@pytest.mark.parametrize(
    ("protocol", "metric", "arch", "expected"),
    [
        ("imagenet-finetune", "top1", BASE, 0.08),
        ("imagenet-finetune", "top1", LARGE, 0.07),
        ("coco-vitdet", "box_ap", LARGE, 0.10),
        ("ade20k-upernet", "miou", BASE, 0.30),
    ],
)
def test_noise_that_others_measured_is_known(
    protocol: str, metric: str, arch: str, expected: float
) -> None:
    found = floor(protocol, metric, arch)
    assert found is not None
    assert found.sd == expected


def test_the_huge_model_s_noise_is_that_of_the_four_runs_named() -> None:
    found = floor("imagenet-finetune", "top1", "vit_huge_patch14")
    assert found is not None
    # sample sd of 86.9345, 86.9046, 86.9026, 86.8087
    assert found.sd == pytest.approx(0.0546, abs=0.0005)
    assert "facebookresearch/mae issue 91" in found.source


def test_nothing_is_said_of_what_nobody_measured() -> None:
    assert floor("coco-vitdet", "mask_ap", BASE) is None
    assert floor("imagenet-linear", "top1", BASE) is None
    assert floor("coco-vitdet", "box_ap", "vit_demo_patch8") is None
    assert floor("imagenet-finetune", "top1", "vit_small_patch16") is None


def test_every_line_belongs_to_a_task_s_metric_and_tells_its_source() -> None:
    known = {(metric.protocol, metric.name) for name in TASKS for metric in load(name).metrics}
    with FILE.open() as lines:
        table = list(csv.DictReader(lines))
    assert len(table) >= 6
    for one in table:
        assert (one["protocol"], one["metric"]) in known
        assert one["source"] and float(one["sd"]) > 0
