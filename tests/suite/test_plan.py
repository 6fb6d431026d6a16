import dataclasses
from pathlib import Path

from mae_bench.core.job import Checkpoint, Job
from mae_bench.suite.plan import plan
from mae_bench.suite.presets import demo, demo_ssl, full
from mae_bench.suite.store import Store
from mae_bench.suite.suite import Column, Row, Suite, made_row
from pretrain.mae import MAE

GOLDEN = Path(__file__).parents[1] / "golden" / "full.plan"
DATA = {"imagenet": "imagenet-1k", "coco": "coco-2017", "ade20k": "ade20k-2016"}


def test_the_full_plan_is_the_golden_one():
    """A changed line is a job that would run again: raise a version or restore the field."""
    planned = plan(full(), DATA)
    lines = [f"{job.key} {job.row} {job.recipe.name} {job.seed}" for job in planned.jobs]
    assert lines == GOLDEN.read_text().splitlines()


def test_key_ignores_the_label_and_changes_with_everything_else():
    job = Job("MAE", MAE(), 0, "data")
    assert Job("other", MAE(), 0, "data").key == job.key
    others = [
        Job("MAE", MAE(epochs=800), 0, "data"),
        Job("MAE", MAE(), 1, "data"),
        Job("MAE", MAE(), 0, "other data"),
        Job("MAE", MAE(), 0, "data", source=job),
    ]
    assert len({job.key, *(other.key for other in others)}) == 5


def test_a_field_at_its_neutral_value_is_left_out_of_the_key():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Newer(MAE):
        added: float = dataclasses.field(default=0.0, metadata={"neutral": 0.0})

    assert Job("a", Newer(), 0, "d").key == Job("a", MAE(), 0, "d").key
    assert Job("a", Newer(added=1.0), 0, "d").key != Job("a", MAE(), 0, "d").key


def test_sources_come_before_what_needs_them_and_every_job_once():
    jobs = plan(full(), DATA).jobs
    keys = [job.key for job in jobs]
    assert len(set(keys)) == len(keys)
    for job in jobs:
        if job.source is not None:
            assert keys.index(job.source.key) < keys.index(job.key)


def test_the_supervised_fine_tune_cell_is_its_own_training():
    cells = {(cell.row, cell.task): cell.jobs for cell in plan(full(), DATA).cells}
    (job,) = cells["Supervised ViT-B", "imagenet_finetune"]
    assert (job.recipe.name, job.recipe.epochs) == ("supervised", 300)


def test_the_demo_makes_random_encoders_anew_for_each_seed_and_mae_once():
    cells = {(cell.row, cell.task): cell.jobs for cell in plan(demo(), {}).cells}
    random = cells["Random init", "imagenet_linear"]
    mae = cells["MAE", "imagenet_linear"]
    assert len({job.source.key for job in random}) == 2
    assert len({job.source.key for job in mae}) == 1


def test_each_size_takes_its_own_published_values():
    cells = {(cell.row, cell.task): cell.jobs[0].recipe for cell in plan(full(), DATA).cells}
    base = cells["MAE ViT-B", "imagenet_finetune"]
    large = cells["MAE ViT-L", "imagenet_finetune"]
    huge = cells["MAE ViT-H", "imagenet_finetune"]
    assert (base.epochs, base.lr_per_256, base.layer_decay, base.drop_path) == (
        100,
        5e-4,
        0.65,
        0.1,
    )
    assert (large.epochs, large.lr_per_256, large.layer_decay, large.drop_path) == (
        50,
        1e-3,
        0.75,
        0.2,
    )
    assert huge.drop_path == 0.3
    scratch = cells["Random init ViT-B", "coco_vitdet"]
    assert (scratch.lr, scratch.weight_decay, scratch.layer_decay) == (1.6e-4, 0.2, 1.0)
    supervised = cells["Supervised ViT-B", "coco_vitdet"]
    assert (supervised.lr, supervised.iterations, supervised.layer_decay) == (8e-5, 92187, 1.0)


AFTER = Column("imagenet_robustness")
ROWS = (
    made_row("MAE", "mae", "published", {"arch": "vit_large_patch16"}),
    made_row("Random", "random_init", "published", {"arch": "vit_base_patch16"}, seeds="each"),
)


def chained(*columns, seeds=(0, 1)):
    """Return the plan, and by row and seed the job of AFTER."""
    planned = plan(Suite("after", ROWS, columns, seeds), DATA)
    jobs = {(job.row, job.seed): job for job in planned.jobs if job.recipe.after}
    return planned, jobs


def test_a_task_after_another_takes_what_that_left_of_the_same_row_and_seed():
    column = Column("imagenet_finetune", fields={"epochs": 7, "warmup_epochs": 1})
    planned, jobs = chained(AFTER, column)
    cells = {(cell.row, cell.task): cell.jobs for cell in planned.cells}
    assert len(jobs) == 4
    for (row, seed), job in jobs.items():
        tuned = job.source
        assert (tuned.recipe.name, tuned.recipe.epochs) == ("imagenet_finetune", 7)
        assert (tuned.row, tuned.seed) == (row, seed)
        assert tuned in cells[row, "imagenet_finetune"]  # the very job of the suite's column
        assert tuned.source.seed == (seed if row == "Random" else 0)
    keys = [job.key for job in planned.jobs]
    assert len(keys) == len(set(keys)) == 3 + 4 + 4
    for job in planned.jobs:
        if job.source is not None:
            assert keys.index(job.source.key) < keys.index(job.key)


def test_without_a_column_of_it_the_published_fine_tuning_comes_before():
    _, jobs = chained(AFTER, seeds=(0,))
    tuned = jobs["MAE", 0].source.recipe
    assert (tuned.epochs, tuned.drop_path) == (50, 0.2)
    golden = GOLDEN.read_text()
    with_full = plan(Suite("x", full().rows[:1], (AFTER,), (0,)), DATA).jobs
    assert f"{with_full[1].key} MAE ViT-B imagenet_finetune 0" in golden  # shared with the suite
    _, small = chained(Column("imagenet_robustness", "demo"), seeds=(0,))
    assert small["MAE", 0].source.recipe.epochs == 4


def test_a_checkpoint_is_fine_tuned_before_a_task_that_comes_after(tmp_path):
    path = tmp_path / "encoder.safetensors"
    path.write_bytes(b"bytes")
    row = Row("Given", None, path, arch="vit_base_patch16", origin="foreign")
    tuned, after = plan(Suite("given", (row,), (AFTER,), (0,)), DATA).jobs
    assert isinstance(tuned.source, Checkpoint)
    assert after.source is tuned


def test_the_store_hands_on_the_classifier_to_what_comes_after_and_else_the_encoder(tmp_path):
    store = Store(tmp_path)
    _, jobs = chained(AFTER, seeds=(0,))
    after = jobs["MAE", 0]
    assert store.encoder(after) == store.dir(after.source) / "classifier.safetensors"
    tuned = after.source
    assert store.encoder(tuned) == store.dir(tuned.source) / "encoder.safetensors"
    assert store.encoder(tuned.source) is None


def test_the_demo_of_all_objectives_shares_the_jobs_of_the_demo():
    suite = demo_ssl()
    labels = ["MAE", "MoCo v3", "SimSiam", "SimCLR", "BYOL", "MoCo v2", "Supervised", "Random init"]
    assert [row.label for row in suite.rows] == labels
    assert [column.task for column in suite.columns] == ["imagenet_finetune", "imagenet_linear"]
    shared = {
        job.key
        for cell in plan(demo(), {}).cells
        if cell.task in ("imagenet_finetune", "imagenet_linear")
        for job in cell.jobs
    }
    jobs = plan(suite, {}).jobs
    assert shared < {job.key for job in jobs}
    made = [job for job in jobs if job.source is None and job.row in labels[1:6]]
    assert [job.row for job in made] == labels[1:6]
    assert {job.seed for job in jobs} == {0, 1}
