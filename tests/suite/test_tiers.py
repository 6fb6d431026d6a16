from pathlib import Path

import pytest

from mae_bench.core.registry import OBJECTIVES, TASKS, load
from mae_bench.kit.archs import PAPER_ARCHS
from mae_bench.suite.plan import plan
from mae_bench.suite.presets import demo, full, named_suite
from mae_bench.suite.suite import Column, Suite, made_row, read_suite
from mae_bench.suite.tier import Shortened
from mae_bench.suite.tiers import at_tier

GOLDEN = Path(__file__).parents[1] / "golden" / "full-lite.plan"
DATA = {"imagenet": "imagenet-1k", "coco": "coco-2017", "ade20k": "ade20k-2016"}
SHORTENED = [n for n in sorted(OBJECTIVES | TASKS) if isinstance(load(n), Shortened)]


def cells_of(suite):
    return {(cell.row, cell.task): cell.jobs[0].recipe for cell in plan(suite, DATA).cells}


def test_the_lite_plan_is_the_golden_one():
    """A changed line is a job that would run again: raise a version or restore the field."""
    planned = plan(at_tier(full(), "lite"), DATA)
    lines = [f"{job.key} {job.row} {job.recipe.name} {job.seed}" for job in planned.jobs]
    assert lines == GOLDEN.read_text().splitlines()
    assert planned.name == "full-lite"


def test_lite_takes_the_published_short_schedules():
    cells = cells_of(at_tier(full(), "lite"))
    lengths = {
        ("MAE ViT-B", "coco_maskrcnn_fpn"): ("iterations", 46093),  # 25 epochs
        ("Random init ViT-B", "coco_maskrcnn_fpn"): ("iterations", 184375),  # 100 of 400
        ("MAE ViT-L", "coco_vitdet"): ("iterations", 92187),  # 50
        ("Random init ViT-L", "coco_vitdet"): ("iterations", 184375),  # as in full
        ("MAE ViT-L", "ade20k_upernet"): ("iterations", 80_000),
        ("MAE ViT-L", "imagenet_linear"): ("epochs", 50),
        ("MAE ViT-B", "imagenet_linear"): ("epochs", 90),  # as in full
    }
    assert {at: (name, getattr(cells[at], name)) for at, (name, _) in lengths.items()} == lengths
    assert cells["MAE ViT-L", "coco_vitdet"].milestones == (81944, 88773)
    assert cells["MAE ViT-L", "coco_vitdet"].layer_decay == 0.8
    rows = {row.label: row.recipe for row in at_tier(full(), "lite").rows}
    epochs = [rows[f"MAE ViT-{size}"].epochs for size in "BLH"]
    assert epochs == [300, 800, 800]
    assert rows["Supervised ViT-B"].epochs == 300


def test_jobs_that_both_tiers_have_are_the_same_jobs():
    whole = {job.key for job in plan(full(), DATA).jobs}
    shared = [job for job in plan(at_tier(full(), "lite"), DATA).jobs if job.key in whole]
    names = {(job.row.split(" ViT")[0], job.recipe.name) for job in shared}
    assert ("Supervised", "supervised") in names
    assert ("Random init", "imagenet_finetune") in names
    assert ("Random init", "coco_vitdet") in names
    assert not any(row == "MAE" for row, _ in names)


@pytest.mark.parametrize("name", SHORTENED)
def test_a_short_schedule_is_shorter_and_differs_in_nothing_else(name):
    cls = load(name)
    for arch in PAPER_ARCHS:
        for origin in ("mae", "supervised", "random_init"):
            whole, short = cls.published(arch, origin), cls.lite(arch, origin)
            changed = {f for f in vars(whole) if getattr(whole, f) != getattr(short, f)}
            assert changed <= {"epochs", "iterations", "milestones"}
            for field in changed - {"milestones"}:
                assert getattr(short, field) < getattr(whole, field)


def test_a_length_that_a_suite_chose_itself_stays():
    own = {"epochs": 123}
    row = made_row("MAE", "mae", "published", own)
    columns = (Column("ade20k_upernet"), Column("imagenet_partial", fields={"epochs": 77}))
    suite = at_tier(Suite("own", (row,), columns, (0,)), "lite")
    assert suite.rows[0].recipe.epochs == 123
    partial = suite.columns[1].recipe_for(suite.rows[0])
    assert partial.epochs == 77


def test_an_unknown_tier_is_answered_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match=r"tier of suite full 'light'; did you mean 'lite'\?"):
        named_suite("full", tmp_path, "light")
    with pytest.raises(ValueError, match="tier of suite full 'xxxx'; known: full, lite"):
        named_suite("full", tmp_path, "xxxx")


def test_a_tier_that_changes_nothing_is_refused():
    with pytest.raises(ValueError, match="tier lite changes nothing in suite demo"):
        at_tier(demo(), "lite")


OWN = """
name = "mine"
[encoders.MAE]
recipe = "mae"
arch = "vit_base_patch16"
[[tasks]]
recipe = "imagenet_linear"
[tiers.lite.mae]
epochs = 100
[tiers.quick.imagenet_linear]
epochs = 20
"""


def suite_of(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


def test_a_suite_file_has_tiers_of_its_own(tmp_path):
    path = suite_of(tmp_path, OWN)
    lite = named_suite(str(path), tmp_path, "lite")
    assert (lite.name, lite.rows[0].recipe.epochs) == ("mine-lite", 100)
    quick = named_suite(str(path), tmp_path, "quick")
    assert quick.rows[0].recipe.epochs == 1600
    assert quick.columns[0].recipe_for(quick.rows[0]).epochs == 20
    with pytest.raises(ValueError, match="'fast'; known: full, lite, quick"):
        named_suite(str(path), tmp_path, "fast")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lite.mae", "lite.mea", r"recipe in tiers.lite 'mea'; did you mean 'mae'\?"),
        ("epochs = 100", "epoch = 100", r"field of tiers.lite.mae 'epoch'; did you mean 'epochs'"),
        ("tiers.lite.mae", "tiers.full.mae", "a tier's name must .*, not full, got 'full'"),
        ("tiers.lite.mae", 'tiers."../a".mae', "a tier's name must match"),
        ("[tiers.lite.mae]\nepochs", "[tiers]\nepochs", "tiers.epochs must be dict, got 100"),
    ],
)
def test_a_mistake_in_a_tier_is_named(tmp_path, old, new, message):
    with pytest.raises(ValueError, match=message):
        read_suite(suite_of(tmp_path, OWN.replace(old, new)))


def test_a_wrong_value_in_a_tier_is_named(tmp_path):
    path = suite_of(tmp_path, OWN.replace("epochs = 100", "epochs = 0"))
    with pytest.raises(ValueError, match=r"mae.epochs must be >= 1, got 0"):
        named_suite(str(path), tmp_path, "lite")
