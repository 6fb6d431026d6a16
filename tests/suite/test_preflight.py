import pytest
from shifted_sets import make_shifted

from mae_bench.core.demo_data import DemoData
from mae_bench.core.site import Site
from mae_bench.kit.layouts import check
from mae_bench.suite.preflight import PreflightError, prepare_ground, survey
from mae_bench.suite.suite import Column, Suite, made_row

ROWS = (made_row("Random", "random_init", "demo", {}),)


def ground(folder, data, sets=("imagenet-a",), demo_data=None):
    columns = (Column("imagenet_robustness", "demo", {"sets": list(sets)}),)
    suite = Suite("shifted", ROWS, columns, (0,), demo_data)
    site = Site(store=folder / "runs", data=data)
    return survey(suite, site)


@pytest.fixture
def imagenet(tmp_path):
    """Return an ImageNet root that passes the check."""
    for split in ("train", "val"):
        (tmp_path / "imagenet" / split / "ant").mkdir(parents=True)
        (tmp_path / "imagenet" / split / "ant" / "0.JPEG").write_bytes(b"any")
    return tmp_path / "imagenet"


def test_only_the_sets_that_are_measured_must_be_there(tmp_path, imagenet):
    shifted = make_shifted(tmp_path / "shifted", ("ant",))
    data = {"imagenet": imagenet, "imagenet_robustness": shifted}
    prepare_ground(ground(tmp_path, data), print)
    with pytest.raises(PreflightError) as error:
        prepare_ground(ground(tmp_path, data, ("imagenet-a", "sketch")), print)
    (line,) = str(error.value).splitlines()
    assert f"no folder {shifted / 'sketch'};" in line


def test_a_devkit_is_made_where_a_task_needs_it_and_beside_what_is_there(tmp_path):
    sizes = DemoData(
        num_train_images=8, num_val_images=8, num_train_scenes=8, num_val_scenes=8, scene_side=32
    )
    site = Site(store=tmp_path)
    root = tmp_path / "data" / f"demo-{sizes.key}"
    for task in ("imagenet_linear", "voc_classification"):
        assert not (root / "VOCdevkit").exists()
        suite = Suite("made", ROWS, (Column(task, "demo"),), (0,), sizes)
        prepare_ground(survey(suite, site), lambda done, total: None)
        times = {p: p.stat().st_mtime_ns for p in (root / "coco").rglob("*")}
        if task == "imagenet_linear":
            before = times
    assert times == before
    assert check("voc", root / "VOCdevkit") == []
    found = survey(suite, site)
    assert found.plan.jobs[-1].data_fingerprint == f"demo-{sizes.key}/voc"


def test_demo_data_does_not_stand_for_a_set_that_it_lacks(tmp_path):
    found = ground(tmp_path, {}, demo_data=DemoData())
    encoder, tuned, after = found.plan.jobs
    assert list(found.blocked) == [after.key]
    assert "pass --imagenet-robustness DIR" in found.blocked[after.key]
    with pytest.raises(PreflightError, match="imagenet_robustness: no folder given"):
        prepare_ground(found, print)
    assert not (tmp_path / "runs" / "data").exists()
    assert tuned.source is encoder
