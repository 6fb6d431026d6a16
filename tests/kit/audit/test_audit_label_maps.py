import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def root(copy_of):
    return copy_of("ade20k")


def test_clean_label_maps_pass(made, problems_of):
    assert problems_of("ade20k", made["ade20k"]) == {}


def test_every_kind_of_broken_label_map_is_found_in_one_pass(root, problems_of):
    images = sorted((root / "images" / "training").iterdir())
    folder = root / "annotations" / "training"
    maps = sorted(folder.iterdir())
    images[0].write_bytes(b"no image")
    maps[1].write_bytes(maps[1].read_bytes()[:60])
    Image.new("L", (40, 48)).save(maps[2])
    Image.new("RGB", (48, 48)).save(maps[3])
    for path in maps[4:16]:
        Image.fromarray(np.full((48, 48), 13, np.uint8)).save(path)
    Image.fromarray(np.full((48, 48), 255, np.uint8)).save(maps[16])
    Image.fromarray(np.full((48, 48), 300, np.uint16)).save(maps[17])
    Image.fromarray(np.full((48, 48), 12, np.uint16)).save(maps[18])
    maps[19].unlink()
    images[20].unlink()
    found = problems_of("ade20k", root)
    assert {kind: one.count for kind, one in found.items()} == {
        "images without a label map": 1,
        "label maps without an image": 1,
        "unreadable images": 1,
        "unreadable label maps": 1,
        "label maps of another size than their image": 1,
        "label maps that are pictures instead of indices": 1,
        "label maps with labels above the class count": 13,
    }
    assert all(one.fatal for one in found.values())
    above = found["label maps with labels above the class count"]
    assert above.first[0] == f"{maps[4]} has label 13, expected at most 12"
    assert len(above.first) == 10
    assert "40 x 48 and 48 x 48 pixels" in found["label maps of another size than their image"].line


def test_palette_images_count_by_their_indices(root, problems_of):
    path = next((root / "annotations" / "validation").iterdir())
    label = Image.fromarray(np.full((48, 48), 12, np.uint8), mode="P")
    label.putpalette([200] * 768)
    label.save(path)
    assert problems_of("ade20k", root) == {}


def test_the_highest_label_is_one_less_where_zero_is_a_class(root, problems_of):
    """The demo's maps have labels 0 to 12, and twelve classes."""
    found = problems_of("ade20k", root, first_label=0)
    (problem,) = found.values()
    assert "has label 12, expected at most 11" in problem.line


def test_with_more_than_254_classes_255_is_one_and_65535_counts_for_nothing(root, problems_of):
    (root / "objectInfo150.txt").unlink()
    (root / "classes.txt").write_text("".join(f"class {n}\n" for n in range(300)))
    paths = sorted((root / "annotations" / "validation").iterdir())
    for path, value in zip(paths[:3], (300, 65535, 301), strict=True):
        Image.fromarray(np.full((48, 48), value, np.uint16)).save(path)
    (problem,) = problems_of("ade20k", root).values()
    assert problem.first == (f"{paths[2]} has label 301, expected at most 300",)


def test_maps_of_one_bit_have_labels_0_and_1(root, problems_of):
    path = next((root / "annotations" / "validation").iterdir())
    Image.new("1", (48, 48), 1).save(path)
    assert problems_of("ade20k", root) == {}


def test_a_missing_folder_and_class_list_are_named(root, problems_of):
    (root / "images" / "training").rename(root / "images" / "train")
    assert str(root / "images" / "training") in problems_of("ade20k", root)["missing folders"].line
    (root / "objectInfo150.txt").unlink()
    found = problems_of("ade20k", root)
    assert list(found) == ["class lists that cannot be read"]


def test_images_may_have_any_suffix_but_only_one(root, problems_of):
    folder = root / "images" / "training"
    for path in folder.iterdir():
        path.rename(path.with_suffix(".tif"))  # whose content Pillow looks at
    assert problems_of("ade20k", root) == {}
    path.with_suffix(".tif").rename(path)
    (problem,) = problems_of("ade20k", root).values()
    assert problem.fatal
    assert f"{folder} must have images of one suffix, got ['.jpg', '.tif']" in problem.line
