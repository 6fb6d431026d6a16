from typing import Any

from mae_bench.report.protocols import protocols
from mae_bench.suite.suite import Column, made_row

BASE = {"arch": "vit_base_patch16"}
LINEAR = Column("imagenet_linear")


def rows(*names: str) -> Any:
    return tuple(made_row(name, name, "published", BASE) for name in names)


def test_rows_that_were_probed_by_different_protocols_are_told_apart_in_words(bench: Any) -> None:
    plan = bench(rows("mae", "moco_v3", "supervised", "byol"), (LINEAR,)).plan
    assert protocols(plan) == [
        "linear top-1: not all rows were measured alike: optimizer lars, batch_norm True for mae, "
        "supervised; optimizer sgd, batch_norm False for moco_v3, byol. A difference between such "
        "rows is of the measurement, too."
    ]


def test_nothing_is_said_where_all_rows_were_measured_alike(bench: Any) -> None:
    others = (LINEAR, Column("imagenet_finetune"))
    assert protocols(bench(rows("mae", "simsiam", "supervised"), others).plan) == []
    same = Column("imagenet_linear", "demo")
    assert protocols(bench(rows("mae", "moco_v3"), (same,)).plan) == []
    given = Column("imagenet_linear", fields={"optimizer": "lars", "batch_norm": True})
    assert protocols(bench(rows("mae", "moco_v3"), (given,)).plan) == []
