import dataclasses

import pytest

from mae_bench.core.fidelity import fidelity, values_of
from mae_bench.core.registry import OBJECTIVES, TASKS, load

PAPER_DATA = {"classes": 1000, "images": 1_281_167, "val_images": 50_000}


def facts(arch="vit_base_patch16", origin="mae", **more):
    return {"encoder": {"arch": arch, "origin": origin}, **more}


PUBLISHED = [name for name in [*OBJECTIVES, *TASKS] if load(name).published_archs]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_values_are_the_papers_and_the_demos_are_not(name):
    cls = load(name)
    arch = cls.published_archs[0]
    origin = name if name in OBJECTIVES else "mae"
    assert fidelity(cls.published(arch, "mae"), facts(arch, origin)) == "paper"
    stamp = fidelity(cls.demo(), facts("vit_demo_patch8", origin))
    assert isinstance(stamp, list) or name == "random_init"


def test_each_deviating_field_is_named_with_both_values():
    recipe = dataclasses.replace(load("imagenet_finetune")(), epochs=90, mixup=0.0)
    assert fidelity(recipe, facts(data=PAPER_DATA)) == [
        "epochs 90, published 100",
        "mixup 0.0, published 0.8",
    ]


def test_values_are_compared_with_those_of_the_encoders_size_and_origin():
    recipe = load("imagenet_finetune").published("vit_large_patch16", "mae")
    assert fidelity(recipe, facts("vit_large_patch16")) == "paper"
    assert "epochs 50, published 100" in fidelity(recipe, facts("vit_base_patch16"))
    detector = load("coco_vitdet").published("vit_base_patch16", "supervised")
    assert fidelity(detector, facts(origin="supervised")) == [
        "published without relative positions"
    ]
    assert any("lr" in line for line in fidelity(detector, facts(origin="mae")))


def test_other_data_an_unpublished_size_and_what_the_run_found_are_named():
    stamp = fidelity(
        load("imagenet_linear")(),
        facts("vit_w100", data={"classes": 10, "images": 100}, deviations=["labels by seed"]),
    )
    assert stamp == [
        "encoder vit_w100: no published values for this size",
        "data has 10 classes, published 1000",
        "data has 100 images, published 1281167",
        "labels by seed",
    ]


@pytest.mark.parametrize(
    ("arch", "origin", "stamp"),
    [
        ("vit_base_patch16", "moco_v3", "paper"),
        ("vit_large_patch16", "moco_v3", "paper"),
        ("vit_base_patch16", "byol", "paper"),
        (
            "vit_large_patch16",
            "byol",
            ["encoder vit_large_patch16 of origin byol: no published number for it"],
        ),
        (
            "vit_small_patch16",
            "simclr",
            ["encoder vit_small_patch16: no published values for this size"],
        ),
        (
            "vit_base_patch16",
            "simsiam",
            ["encoder of origin simsiam: no published values for it"],
        ),
    ],
)
def test_a_probe_is_the_papers_for_what_that_paper_probed(arch, origin, stamp):
    recipe = load("imagenet_linear").published(arch, origin)
    assert fidelity(recipe, facts(arch, origin, data=PAPER_DATA)) == stamp


def test_maes_probe_of_an_encoder_of_moco_v3_deviates_by_name():
    stamp = fidelity(load("imagenet_linear")(), facts(origin="moco_v3", data=PAPER_DATA))
    assert stamp == [
        "warmup_epochs 10, published 0",
        "batch_size 16384, published 1024",
        "lr_per_256 0.1, published 3.0",
        "optimizer lars, published sgd",
        "batch_norm True, published False",
        "lr_changes step, published epoch",
        "crop_tries 1, published 10",
    ]


def test_an_encoder_that_the_papers_did_not_measure_is_named():
    recipe = load("imagenet_finetune").published("vit_base_patch16", "beit")
    expected = ["encoder of origin beit: no published values for it"]
    assert fidelity(recipe, facts(origin="beit", data=PAPER_DATA)) == expected


def test_a_part_of_coco_is_not_the_papers():
    recipe = load("coco_vitdet").published("vit_base_patch16", "mae")
    counts = {"classes": 80, "images": 1000, "val_images": 5000}
    assert fidelity(recipe, facts(data=counts)) == ["data has 1000 images, published 118287"]


def test_the_stamp_says_whose_values_were_used():
    of = load("coco_vitdet").published
    supervised = of("vit_large_patch16", "supervised")
    assert values_of(supervised, facts("vit_large_patch16", "supervised")) == (
        "vit_large_patch16, supervised"
    )
    assert values_of(supervised, facts("vit_small_patch16", "dino")) == (
        "vit_large_patch16, supervised"
    )
    assert values_of(of("vit_base_patch16", "dino"), facts(origin="dino")) == (
        "vit_base_patch16, mae"
    )
    assert values_of(dataclasses.replace(supervised, lr=1.0), facts()) == ""
    mae = load("mae").published("vit_base_patch16", "")
    assert values_of(mae, {}) == "vit_base_patch16, mae"


def test_an_encoder_that_the_source_did_not_measure_is_no_papers():
    huge = load("coco_vitdet").published("vit_huge_patch14", "random_init")
    stamp = fidelity(huge, facts("vit_huge_patch14", "random_init"))
    assert stamp == ["no published number for vit_huge_patch14 of origin random_init"]


def test_a_run_continued_from_another_configuration_says_so():
    recipe = load("ade20k_upernet").published("vit_base_patch16", "mae")
    line = "lr: 1 in the checkpoint, 0.0001 now"
    found = facts(resumed_from_another_configuration=[line])
    assert fidelity(recipe, found) == [f"resumed from another configuration: {line}"]
