import csv
import dataclasses
import tomllib
from typing import Any

import pytest

from mae_bench.core.job import Job
from mae_bench.core.registry import TASKS, load
from mae_bench.kit.archs import ARCHS
from mae_bench.kit.foreign.architecture import arch_name
from mae_bench.report.frame import variant
from mae_bench.report.published import (
    COLUMNS,
    LEDGER,
    OTHER_BACKBONES,
    OTHER_PROTOCOLS,
    Reference,
    arch_of,
    published,
    read_references,
    rules,
    word,
)

HEAD = "method,backbone,protocol,metric,value,source"
GOOD = "MAE,vit_b16,imagenet-finetune,top1,83.6,He et al. 2021"


def lines() -> list[dict[str, str]]:
    with LEDGER.open(newline="") as stream:
        return list(csv.DictReader(stream))


def of(line: str, head: str = HEAD) -> Reference:
    (one,) = read_references(f"{head}\n{line}\n", "mine.csv", "imported")
    return one


def test_every_line_of_the_ledger_is_read_as_it_is_written() -> None:
    read = published()
    assert len(read) == len(lines()) > 160
    for one, line in zip(read, lines(), strict=True):
        assert one.value == float(line["value"])
        assert one.pretrain_epochs == (
            float(line["pretrain_epochs"]) if line["pretrain_epochs"] else None
        )
        texts = [name for name in COLUMNS if name not in ("value", "pretrain_epochs")]
        assert [getattr(one, name) for name in texts] == [line[name] for name in texts]


def test_every_line_of_the_ledger_names_method_source_and_place() -> None:
    for line in lines():
        assert line["method"] and line["source"] and line["location"], line


def test_every_backbone_of_the_ledger_is_a_size_here_or_known_to_be_others() -> None:
    archs = {arch_of(line["backbone"]) for line in lines()}
    assert archs - set(ARCHS) == set(OTHER_BACKBONES)
    assert {arch_of("vit_b16"), arch_of("vit_h14@448")} == {"vit_base_patch16", "vit_huge_patch14"}


def test_every_protocol_of_the_ledger_is_some_metrics_or_known_to_be_others() -> None:
    ours = {
        (metric.protocol, metric.name)
        for task in TASKS
        for metric in load(task).metrics
        if metric.protocol
    }
    theirs = {(name, metric.name) for name, metric in OTHER_PROTOCOLS.items()}
    found = {(line["protocol"].partition("@")[0], line["metric"]) for line in lines()}
    assert found <= ours | theirs
    assert theirs <= found


def test_no_line_of_the_ledger_is_there_twice() -> None:
    names = [name for name in COLUMNS if name not in ("value", "location", "note")]
    identities = [tuple(line[name] for name in names) for line in lines()]
    assert len(set(identities)) == len(identities)


@pytest.mark.parametrize(
    ("task", "fields", "reference"),
    [
        ("imagenet_finetune", {"image_size": 448}, ("vit_h14@448", "imagenet-finetune", "top1")),
        (
            "coco_vitdet",
            {"relative_positions": False},
            ("vit_b16", "coco-vitdet@relative positions False", "box_ap"),
        ),
        (
            "coco_maskrcnn_fpn",
            {"iterations": 46093},
            ("vit_b16", "coco-maskrcnn-fpn@25ep", "box_ap"),
        ),
        (
            "coco_maskrcnn_fpn",
            {"iterations": 92187},
            ("vit_b16", "coco-maskrcnn-fpn@50ep", "box_ap"),
        ),
        ("coco_maskrcnn_fpn", {}, ("vit_b16", "coco-maskrcnn-fpn", "box_ap")),
        ("imagenet_partial", {}, ("vit_l16", "imagenet-partial", "top1_0p5")),
    ],
)  # 25 epochs are 25 x 118,000 / 64 = 46,093.75 iterations
def test_a_task_with_those_fields_has_the_ledgers_rules(
    task: str, fields: dict[str, Any], reference: tuple[str, str, str]
) -> None:
    name = reference[2]
    known = [p for p in published() if (p.backbone, p.protocol, p.metric) == reference]
    assert known
    recipe = dataclasses.replace(load(task)(), **fields)
    metric = next(metric for metric in recipe.metrics if metric.name == name)
    schedule = getattr(recipe, "published_schedule", "")
    apart = variant(task, Job("MAE", recipe, 0, "data"))
    assert {one.rules for one in known} == {rules(metric.protocol, schedule, apart)}


def test_methods_are_matched_without_what_tells_versions_of_them_apart() -> None:
    assert word("MAE (released checkpoint)") == "mae"
    assert word("MoCo v3") == "moco_v3"
    assert word("random init") == "random_init"
    assert word("MAE, unnormalised pixels") == load("mae")(norm_pix=False).method


def test_a_line_may_leave_out_what_is_not_needed() -> None:
    one = of(GOOD)
    assert (one.value, one.pretrain_epochs, one.note, one.kind) == (83.6, None, "", "imported")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("83.6", "high"), r"mine\.csv, line 2, value: must be a number such as 83\.6, got 'high'"),
        (("83.6", "nan"), r"line 2, value: must be a number"),
        (("83.6", "101"), r"line 2, value: metric top1 must be in \[0, 100\] %, got 101"),
        (("vit_b16", "vit_base_patch61"), r"line 2, backbone: unknown .* did you mean 'vit_base_p"),
        (("vit_b16", "vit_b16@big"), r"line 2, backbone: behind the @ must be an image size"),
        (
            ("imagenet-finetune", "imagenet-finetun"),
            r"protocol: .* did you mean 'imagenet-finetune",
        ),
        (("imagenet-finetune", "imagenet-finetune@!"), r"protocol: behind the @ must be epochs"),
        (
            ("top1", "top5"),
            r"line 2, metric: unknown metric of imagenet-finetune 'top5'; did you me",
        ),
        (("He et al. 2021", ""), r"line 2, source: empty; every number needs one"),
        (("He et al. 2021", "He, Chen"), r"line 2: another number of cells than the header has"),
        (("MAE,", ""), r"line 2: another number of cells than the header has"),
    ],
)
def test_a_wrong_cell_is_named_with_line_column_and_value(
    change: tuple[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        of(GOOD.replace(*change))


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (HEAD.replace("value", "valu"), r"mine\.csv, line 1: unknown column 'valu'; did you mean"),
        (HEAD.removesuffix(",source"), r"line 1: no column source; the header must have method,"),
        (HEAD.replace(",", ";"), r"mine\.csv, line 1: cells are parted by semicolons, but must be"),
        (HEAD.replace(",", "\t"), r"line 1: cells are parted by tabs, but must be by commas"),
        (HEAD + ",value", r"line 1: column value is there twice"),
    ],
)
def test_a_wrong_header_is_named(head: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        of(GOOD, head)


def test_the_same_number_of_one_source_twice_is_refused_and_of_two_sources_is_not() -> None:
    with pytest.raises(
        ValueError, match=r"line 3: the same number of the same source as in line 2"
    ):
        read_references(f"{HEAD}\n{GOOD}\n{GOOD}\n", "mine.csv", "imported")
    other = GOOD.replace("He et al. 2021", "Somebody")
    assert len(read_references(f"{HEAD}\n{GOOD}\n{other}\n", "mine.csv", "imported")) == 2


def test_a_file_without_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"mine\.csv has no line below its header"):
        read_references(f"{HEAD}\n", "mine.csv", "imported")


def test_every_table_of_the_package_is_installed_with_it() -> None:
    root = LEDGER.parents[2]
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    for path in (root / "mae_bench").rglob("*.csv"):
        package = ".".join(path.parent.relative_to(root).parts)
        patterns = settings["package-data"][package]
        assert any(path.match(pattern) for pattern in patterns), path


def test_a_small_model_of_other_heads_is_another_encoder() -> None:
    assert ARCHS["vit_small_patch16"].heads == 6
    of_twelve = [one for one in published() if "12 heads" in one.note]
    assert {one.arch for one in of_twelve} == {arch_name(384, 12, 16, heads=12)}
    assert "vit_small_patch16" not in {one.arch for one in published()}
    first = next(one for one in of_twelve if one.method == "MoCo v3" and "linear" in one.protocol)
    assert first.value == 72.5  # the paper's; its repository's 73.2 comes behind
