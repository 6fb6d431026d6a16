import shutil

import numpy as np
import pytest
from PIL import Image

from mae_bench.kit.layouts import check
from mae_bench.kit.voc_files import MAIN_2007, SEGMENTATION_2012, read_ids


@pytest.fixture
def root(copy_of):
    return copy_of("voc")


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_clean_devkit_passes(made, problems_of):
    assert problems_of("voc", made["voc"]) == {}


def test_every_kind_of_broken_annotation_is_found_in_one_pass(root, problems_of):
    ids = read_ids(root, MAIN_2007, "trainval")
    xml = [root / "VOC2007" / "Annotations" / f"{name}.xml" for name in ids]
    (root / "VOC2007" / "JPEGImages" / f"{ids[0]}.jpg").unlink()
    (root / "VOC2007" / "JPEGImages" / f"{ids[1]}.jpg").write_bytes(b"")
    edit(xml[2], "<width>48<", "<width>64<")
    for path in xml[3:5]:
        edit(path, "<name>", "<name>great ")
    for path, edge in ((xml[5], 51), (xml[6], 49), (xml[7], 1)):
        text = path.read_text()
        start, end = text.index("<bndbox>"), text.index("</bndbox>")
        box = f"<xmin>2</xmin><ymin>9</ymin><xmax>{edge}</xmax><ymax>19</ymax>"
        path.write_text(text[: start + 8] + box + text[end:])
    xml[8].write_text("<annotation>")
    xml[9].unlink()
    found = problems_of("voc", root, sets=(MAIN_2007,))
    assert {kind: (one.count, one.fatal) for kind, one in found.items()} == {
        "missing images": (1, True),
        "unreadable images": (1, True),
        "images of another size than their annotation says": (1, True),
        "objects of an unknown class": (2, True),
        "boxes outside their image": (1, True),
        "boxes a little outside their image": (1, False),
        "boxes without area": (1, False),
        "annotations that cannot be read": (1, True),
        "missing annotations": (1, True),
    }
    assert f"{xml[5]}: " in found["boxes outside their image"].line
    assert "at 2, 9, 51, 19 in 48 x 48 pixels" in found["boxes outside their image"].line
    assert problems_of("voc", root, sets=(SEGMENTATION_2012,)) == {}


def test_broken_label_maps_and_names_without_files_are_found(root, problems_of):
    ids = read_ids(root, SEGMENTATION_2012, "train")
    maps = [root / "VOC2012" / "SegmentationClass" / f"{name}.png" for name in ids]
    Image.open(maps[0]).convert("RGB").save(maps[0])
    Image.fromarray(np.full((48, 48), 21, np.uint8), mode="L").save(maps[1])
    maps[2].unlink()
    (root / SEGMENTATION_2012 / "val.txt").write_text("2008_999999\n")
    found = problems_of("voc", root, sets=(SEGMENTATION_2012,))
    assert {kind: one.count for kind, one in found.items()} == {
        "label maps that are pictures instead of indices": 1,
        "label maps with labels above the class count": 1,
        "missing label maps": 2,
        "missing images": 1,
    }
    assert f"{maps[1]} has label 21, expected at most 20" in (
        found["label maps with labels above the class count"].line
    )


def test_lists_that_do_not_go_together_are_found(root, problems_of):
    (root / MAIN_2007 / "dog_test.txt").write_text("000003 -1\n")
    found = problems_of("voc", root)
    assert "dog_test.txt and test.txt name different images" in (
        found["lists that cannot be read"].line
    )


def test_a_longer_training_list_is_looked_at_with_its_own_label_maps(root, problems_of):
    year = root / "VOC2012"
    maps = shutil.copytree(year / "SegmentationClass", year / "SegmentationClassAug")
    ids = read_ids(root, SEGMENTATION_2012, "train")
    (root / SEGMENTATION_2012 / "trainaug.txt").write_text("\n".join([*ids, "2009_000001"]))
    (maps / f"{ids[0]}.png").write_bytes(b"broken")
    assert problems_of("voc", root, sets=(SEGMENTATION_2012,)) == {}
    found = problems_of("voc", root, sets=(SEGMENTATION_2012,), train_list="trainaug")
    assert str(maps / ids[0]) in found["unreadable label maps"].line
    assert str(maps / "2009_000001.png") in found["missing label maps"].line
    assert found["missing images"].count == 1


def test_a_blank_line_in_a_list_is_found(root, problems_of):
    path = root / SEGMENTATION_2012 / "train.txt"
    first, rest = path.read_text().split("\n", 1)
    path.write_text(f"{first}\n \n{rest}")
    (problem,) = problems_of("voc", root).values()
    assert f"{path}: line 2 of" in problem.line
    assert any("line 2 of" in line for line in check("voc", root))


def test_a_file_of_another_kind_does_not_stand_for_an_image(root):
    image = root / "VOC2007" / "JPEGImages" / f"{read_ids(root, MAIN_2007, 'test')[0]}.jpg"
    image.rename(image.with_suffix(".png"))
    (problem,) = check("voc", root, (MAIN_2007,))
    assert f"missing: {image.name} and 0 more" in problem
