import dataclasses
import json
import shlex
import shutil

import numpy as np
import pytest
from PIL import Image

from mae_bench.cli import OK, PREFLIGHT
from mae_bench.commands.data import check_data
from mae_bench.core.demo_data import DemoData, demo_roots
from mae_bench.core.job import Job
from mae_bench.core.site import Site
from mae_bench.kit.audit.audit import Wanted
from mae_bench.kit.scene_files import make_demo
from mae_bench.kit.voc_scenes import add_voc
from mae_bench.suite import preflight
from mae_bench.suite.audits import broken, wanted_of
from mae_bench.suite.execute import execute
from mae_bench.suite.preflight import PreflightError, prepare_ground, survey
from mae_bench.suite.store import Store
from mae_bench.suite.suite import Column, Suite, made_row
from transfer.ade20k_upernet import Ade20kUperNet
from transfer.coco_vitdet import CocoVitDet
from transfer.voc_classification import VocClassification
from transfer.voc_detection import VocDetection
from transfer.voc_segmentation import VocSegmentation

SIZES = DemoData(
    num_train_images=8, num_val_images=8, num_train_scenes=8, num_val_scenes=8, scene_side=32
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("audits") / "demo"
    make_demo(root, SIZES)
    return root


@pytest.fixture
def roots(made, tmp_path):
    shutil.copytree(made, tmp_path / "demo")
    return demo_roots(tmp_path / "demo")


def told(wanted, store):
    """Return what is wrong and whether the data was looked at."""
    seen = []
    return broken(wanted, store, lambda *counts: seen.append(counts)), bool(seen)


def test_sound_data_is_looked_at_once_until_it_changes(roots, tmp_path):
    wanted = Wanted("coco", roots["coco"])
    assert told(wanted, tmp_path) == ("", True)
    assert told(wanted, tmp_path) == ("", False)
    next((roots["coco"] / "val2017").iterdir()).unlink()
    problem, looked = told(wanted, tmp_path)
    assert looked
    assert problem.startswith("coco: 1 missing images, the first: ")
    assert problem.endswith(f"mae-bench data check coco {roots['coco']} lists ten of each")


def test_broken_data_is_looked_at_again(roots, tmp_path):
    path = sorted((roots["ade20k"] / "annotations" / "training").iterdir())[0]
    whole = path.read_bytes()
    Image.fromarray(np.full((32, 32), 77, np.uint8)).save(path)
    wanted = Wanted("ade20k", roots["ade20k"])
    assert f"{path} has label 77, expected at most 12" in broken(wanted, tmp_path, print)
    path.write_bytes(whole)
    assert told(wanted, tmp_path) == ("", True)


def test_what_is_harmless_is_logged_and_stops_nothing(roots, tmp_path, caplog):
    path = roots["coco"] / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["bbox"][2] = 0
    path.write_text(json.dumps(content))
    assert broken(Wanted("coco", roots["coco"]), tmp_path, print) == ""
    assert "1 boxes without area" in caplog.text


def test_other_data_sets_and_a_damaged_memory_stop_nothing(roots, tmp_path):
    assert told(Wanted("imagenet", roots["imagenet"]), tmp_path) == ("", False)
    for text in ("{", "[]"):
        (tmp_path / "audits.json").write_text(text)
        assert told(Wanted("coco", roots["coco"]), tmp_path) == ("", True)


def test_a_suite_on_broken_data_does_not_start(roots, tmp_path):
    path = roots["coco"] / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["category_id"] = 99
    path.write_text(json.dumps(content))
    suite = Suite(
        "dense",
        (made_row("Random", "random_init", "demo", {}),),
        (Column("coco_vitdet", "demo"), Column("ade20k_upernet", "demo")),
        (0,),
    )
    data = {name: roots[name] for name in ("coco", "ade20k")}
    ground = survey(suite, Site(store=tmp_path / "runs", data=data))
    with pytest.raises(PreflightError) as error:
        prepare_ground(ground, lambda done, total: None)
    (line,) = str(error.value).splitlines()
    assert "1 annotations of an unknown category" in line
    assert "instances_train2017.json: annotation" in line


def test_a_job_on_broken_data_fails_before_it_trains(roots, tmp_path):
    (roots["coco"] / "annotations" / "instances_val2017.json").write_text('{"images": [')
    job = Job("Random", CocoVitDet.demo(), 0, "data", None)
    store = Store(tmp_path / "runs")
    folder = store.prepare(job, roots["coco"])
    assert execute(folder) == 1
    message = json.loads((folder / "failure.json").read_text())["message"]
    assert "instances_val2017.json is not JSON" in message
    assert not (folder / "metrics.jsonl").exists()


def test_a_recipe_says_what_is_looked_at(tmp_path):
    assert wanted_of(Ade20kUperNet(), tmp_path).first_label == 1
    assert wanted_of(CocoVitDet(), tmp_path) == Wanted("coco", tmp_path.resolve())


def test_the_command_prints_ten_of_each_and_returns_3(roots, capsys):
    root = roots["ade20k"]
    assert check_data(["ade20k", str(root)]) == OK
    assert "is whole" in capsys.readouterr().out
    Image.new("RGB", (32, 32)).save(next((root / "annotations" / "validation").iterdir()))
    assert check_data(["ade20k", str(root)]) == PREFLIGHT
    lines = capsys.readouterr().out.splitlines()
    assert "1 label maps that are pictures instead of indices:" in lines
    assert check_data(["coco", str(root)]) == PREFLIGHT
    with pytest.raises(ValueError, match="unknown part of voc 'VOC2008'"):
        check_data(["voc", str(root), "VOC2008"])


def test_the_command_that_the_error_names_looks_at_the_same(roots, tmp_path, capsys):
    ade = roots["ade20k"]
    recipe = dataclasses.replace(Ade20kUperNet.demo(), reduce_zero_label=False)
    problem = broken(wanted_of(recipe, ade), tmp_path, print)
    assert "has label 12, expected at most 11" in problem
    command = shlex.split(problem.split("; ")[-1].removesuffix(" lists ten of each"))
    assert command[:3] == ["mae-bench", "data", "check"]
    capsys.readouterr()
    assert check_data(command[3:]) == PREFLIGHT
    assert "has label 12, expected at most 11" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        check_data(["ade20k", str(ade), "--first-label", "2"])
    recipe = dataclasses.replace(VocSegmentation(), train_list="trainaug")
    assert wanted_of(recipe, tmp_path).command.endswith(
        f"voc {tmp_path} VOC2012/ImageSets/Segmentation --train-list trainaug"
    )


def test_tasks_that_share_a_part_of_the_data_have_it_looked_at_once(tmp_path):
    add_voc(tmp_path, SIZES)
    voc = demo_roots(tmp_path)["voc"]
    looks = [
        told(wanted_of(kind(), voc), tmp_path)
        for kind in (VocDetection, VocClassification, VocSegmentation)
    ]
    assert looks == [("", True), ("", False), ("", True)]


def test_data_of_a_missing_toolbox_does_not_stop_the_others(roots, tmp_path, monkeypatch):
    real = preflight.missing
    monkeypatch.setattr(
        preflight,
        "missing",
        lambda name, python: "gone" if name == "detectron2" else real(name, python),
    )
    (roots["coco"] / "annotations" / "instances_val2017.json").write_text("{")
    columns = (Column("coco_vitdet", "demo"), Column("ade20k_upernet", "demo"))
    suite = Suite("dense", (made_row("Random", "random_init", "demo", {}),), columns, (0,))
    for coco in (roots["coco"], tmp_path / "nowhere"):
        data = {"coco": coco, "ade20k": roots["ade20k"]}
        ground = survey(suite, Site(store=tmp_path / "runs", data=data))
        assert list(ground.blocked.values()) == ["gone"]
        prepare_ground(ground, lambda done, total: None)
