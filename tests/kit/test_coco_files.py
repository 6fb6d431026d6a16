import re

import pytest

from mae_bench.kit.coco_files import CocoSplit, coco_split


def lay(root, *names, images=()):
    (root / "annotations").mkdir(parents=True)
    for name in names:
        (root / "annotations" / name).write_text("{}")
    for name in images:
        (root / name).mkdir()


def test_coco_itself_is_taken_as_it_is_laid_out(tmp_path):
    others = ("instances_train2014.json", "captions_train2017.json")
    lay(tmp_path, "instances_train2017.json", *others, images=("train2017", "train2014"))
    expected = tmp_path / "annotations" / "instances_train2017.json"
    assert coco_split(tmp_path, "train") == CocoSplit(expected, tmp_path / "train2017")


@pytest.mark.parametrize("suffix", ["", "_v2", "2014"])
def test_the_one_annotation_file_of_another_data_set_is_taken(tmp_path, suffix):
    lay(tmp_path, f"instances_val{suffix}.json", images=(f"val{suffix}",))
    (tmp_path / "annotations" / "instances_trainval.json").write_text("{}")
    expected = tmp_path / "annotations" / f"instances_val{suffix}.json"
    assert coco_split(tmp_path, "val") == CocoSplit(expected, tmp_path / f"val{suffix}")


def test_no_file_several_files_and_no_images_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"no file .*instances_train2017\.json, and no other"):
        coco_split(tmp_path, "train")
    lay(tmp_path, "instances_train_a.json", "instances_train_b.json", "instances_val.json")
    names = re.escape("instances_train_a.json, instances_train_b.json")
    with pytest.raises(ValueError, match=f"2 annotation files for train: {names}; leave one"):
        coco_split(tmp_path, "train")
    with pytest.raises(ValueError, match=r"no folder .*/val, which must hold the images of inst"):
        coco_split(tmp_path, "val")


def test_a_trainval_file_is_not_taken_for_the_training_split(tmp_path):
    lay(tmp_path, "instances_trainval.json", images=("trainval",))
    with pytest.raises(ValueError, match="no file"):
        coco_split(tmp_path, "train")
