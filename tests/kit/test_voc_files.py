import hashlib
import shutil
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from mae_bench.core.demo_data import DemoData, demo_roots
from mae_bench.kit.fingerprints import fingerprint
from mae_bench.kit.layouts import check
from mae_bench.kit.voc_files import (
    MAIN_2007,
    MAIN_2012,
    SEGMENTATION_2012,
    VOC_CLASSES,
    read_annotation,
    read_ids,
    read_labels,
)
from mae_bench.kit.voc_scenes import SMALL, add_voc, colours

SIZES = DemoData(num_train_scenes=48, num_val_scenes=8, scene_side=64)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("voc")
    add_voc(root, SIZES)
    return demo_roots(root)["voc"]


@pytest.fixture
def devkit(made, tmp_path):
    shutil.copytree(made, tmp_path / "VOCdevkit")
    return tmp_path / "VOCdevkit"


def digest(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return [(p.relative_to(root), hashlib.sha256(p.read_bytes()).hexdigest()) for p in files]


def test_the_devkit_is_whole_and_its_lists_do_not_overlap(made):
    assert check("voc", made) == []
    counts = {
        (lists, split): len(read_ids(made, lists, split))
        for lists, split in (
            (MAIN_2007, "trainval"),
            (MAIN_2007, "test"),
            (MAIN_2012, "trainval"),
            (SEGMENTATION_2012, "train"),
            (SEGMENTATION_2012, "val"),
        )
    }
    assert list(counts.values()) == [24, 8, 32, 24, 8]
    train, test = (set(read_ids(made, MAIN_2007, split)) for split in ("trainval", "test"))
    assert not train & test
    both = [set(read_ids(made, MAIN_2007, split)) for split in ("train", "val")]
    assert both[0] | both[1] == train
    assert not both[0] & both[1]


def test_the_same_sizes_give_the_same_devkit_and_a_finished_one_stays(made, tmp_path):
    add_voc(tmp_path, SIZES)
    assert digest(tmp_path / "VOCdevkit") == digest(made)
    (tmp_path / "VOCdevkit" / "note").write_text("kept")
    add_voc(tmp_path, DemoData())
    assert (tmp_path / "VOCdevkit" / "note").read_text() == "kept"


def test_boxes_are_one_based_with_their_last_pixels_and_hold_their_objects(made):
    """Each object's box is checked against the label map, whose pixels are counted from 0."""
    cut = 0
    for name in read_ids(made, SEGMENTATION_2012, "train"):
        found = read_annotation(made / "VOC2012" / "Annotations" / f"{name}.xml")
        label = np.asarray(Image.open(made / "VOC2012" / "SegmentationClass" / f"{name}.png"))
        assert label.shape == (found.height, found.width) == (64, 64)
        covered = np.zeros_like(label, bool)
        for one in found.objects:
            xmin, ymin, xmax, ymax = map(int, one.box)
            assert 1 <= xmin <= xmax <= 64
            assert 1 <= ymin <= ymax <= 64
            assert one.truncated == (xmin == 1 or ymin == 1 or xmax == 64 or ymax == 64)
            inside = np.zeros_like(covered)
            inside[ymin - 1 : ymax, xmin - 1 : xmax] = True
            covered |= inside
            assert (label[inside] == VOC_CLASSES.index(one.name) + 1).any() or one.difficult
            cut += one.truncated
        things = (label > 0) & (label <= 20)
        assert not (things & ~covered).any()
        assert (label == 255).any()
        assert set(np.unique(label)) <= {*range(21), 255}
    assert cut


def test_labels_of_the_lists_are_those_of_the_annotations(made):
    seen = set()
    ids = read_ids(made, MAIN_2012, "trainval")
    for cls in VOC_CLASSES:
        labels = read_labels(made, MAIN_2012, "trainval", cls)
        for name, label in zip(ids, labels, strict=True):
            tree = ElementTree.parse(made / "VOC2012" / "Annotations" / f"{name}.xml")
            flags = [o.findtext("difficult") for o in tree.iter("object") if o[0].text == cls]
            assert label == (-1 if not flags else 1 if "0" in flags else 0)
            seen.add(label)
    assert seen == {-1, 0, 1}


def test_small_objects_are_difficult(made):
    for path in (made / "VOC2007" / "Annotations").iterdir():
        for one in read_annotation(path).objects:
            xmin, ymin, xmax, ymax = one.box
            if (xmax - xmin + 1) * (ymax - ymin + 1) < SMALL * 64 * 64:
                assert one.difficult


def test_colours_are_those_that_the_devkit_publishes():
    table = np.array(colours()).reshape(-1, 3).tolist()
    assert table[0] == [0, 0, 0]
    assert table[1] == [128, 0, 0]
    assert table[15] == [192, 128, 128]
    assert table[20] == [0, 64, 128]
    assert table[255] == [224, 224, 192]


def test_parts_of_persons_are_no_objects_and_a_broken_file_is_named(tmp_path):
    path = tmp_path / "2008_000008.xml"
    path.write_text(
        "<annotation><size><width>500</width><height>442</height></size><object>"
        "<name>person</name><part><name>head</name><bndbox><xmin>9</xmin><ymin>9</ymin>"
        "<xmax>19</xmax><ymax>19</ymax></bndbox></part><bndbox><xmax>471</xmax>"
        "<xmin>45.7</xmin><ymin>11</ymin><ymax>420</ymax></bndbox></object></annotation>"
    )
    (found,) = read_annotation(path).objects
    assert (found.name, found.box) == ("person", (45.7, 11, 471, 420))
    assert not found.difficult
    for text in ("<annotation>", "<annotation/>", path.read_text().replace("442", "tall")):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"2008_000008\.xml is no VOC annotation"):
            read_annotation(path)


def test_missing_lists_images_annotations_and_label_maps_are_found(devkit):
    victim = read_ids(devkit, MAIN_2007, "test")[0]
    (devkit / "VOC2007" / "JPEGImages" / f"{victim}.jpg").unlink()
    (devkit / "VOC2012" / "ImageSets" / "Main" / "trainval.txt").unlink()
    shutil.rmtree(devkit / "VOC2012" / "SegmentationClass")
    problems = check("voc", devkit)
    assert any(f"has 7 of the 8 images of {MAIN_2007}/test.txt" in p for p in problems)
    assert any(f"no file {devkit / MAIN_2012 / 'trainval.txt'}" in p for p in problems)
    assert any(f"no folder {devkit / 'VOC2012' / 'SegmentationClass'}" in p for p in problems)


def test_only_the_lists_that_a_task_needs_are_checked(devkit):
    shutil.rmtree(devkit / "VOC2012")
    assert check("voc", devkit, (MAIN_2007,)) == []
    assert check("voc", devkit, (MAIN_2007, MAIN_2012)) != []
    (devkit / "VOC2007" / "ImageSets" / "Main" / "dog_test.txt").write_text("000003 2\n")
    assert (
        "dog_test.txt and test.txt name different images" in check("voc", devkit, (MAIN_2007,))[0]
    )


def test_labels_other_than_the_three_are_refused(devkit):
    path = devkit / "VOC2007" / "ImageSets" / "Main" / "dog_test.txt"
    path.write_text(path.read_text().replace("-1", " 2", 1))
    with pytest.raises(ValueError, match=r"must have 1, 0 or -1 after each image, got '2'"):
        read_labels(devkit, MAIN_2007, "test", "dog")


def test_the_fingerprint_sees_a_list_of_the_same_size(devkit, tmp_path):
    cache = tmp_path / "cache.json"
    before = fingerprint("voc", devkit, cache)
    path = devkit / "VOC2012" / "ImageSets" / "Segmentation" / "train.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[1], lines[1], *lines[2:]]) + "\n")
    assert fingerprint("voc", devkit, cache) != before
