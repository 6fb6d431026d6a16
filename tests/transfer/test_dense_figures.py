import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from mae_bench.core.files import FACTS
from mae_bench.kit.figures import shows
from transfer import detection_figures as detections
from transfer.detection_figures import detection_figures
from transfer.figure_colours import colour
from transfer.segmentation_figures import (
    Segmented,
    best,
    fixed,
    read_labels,
    segmentation_figures,
    worst,
)

DETECTIONS = ("classes.png", "detections.png", "detections_best.png", "detections_worst.png")
SEGMENTATIONS = tuple(name.replace("detections", "segmentations") for name in DETECTIONS)
NAMES = ("cat", "a very long name of a class that no picture has room for", "$x_{")
PER_CLASS = {"cat": 50.0, NAMES[1]: None, "$x_{": 0.0}
SIZES = ((64, 48), (30, 90), (300, 40), (48, 48), (64, 64), (20, 20), (90, 64), (33, 44))


def rectangle(box, size):
    left, top, width, height = box
    corners = [left, top, left + width, top, left + width, top + height, left, top + height]
    return coco_mask.frPyObjects([[float(x) for x in corners]], size[1], size[0])[0]


@pytest.fixture
def split(tmp_path):
    """Return images with 0, 1, 2, ... objects; those of image i are of class i % 3."""
    records = []
    for i, size in enumerate(SIZES):
        path = tmp_path / f"{i:012d}.png"
        Image.new("RGB", size, (40 + 20 * i, 90, 120)).save(path)
        annotations = []
        for k in range(i):
            box = [2.0 * k, 1.0 * k, 8.0, 10.0]
            rle = rectangle(box, size)
            counts = [0] if k == 1 else None
            if counts:
                flat = coco_mask.decode(rle).ravel(order="F")
                ends = np.flatnonzero(np.diff(flat, prepend=0)).tolist()
                rle = {"size": rle["size"], "counts": np.diff([0, *ends, flat.size]).tolist()}
            corners = [box[0], box[1], box[0] + box[2], box[1] + box[3]]
            x0, y0, x1, y1 = corners
            masks = (rectangle(box, size), rle, [[x0, y0, x1, y0, x1, y1, x0, y1]])
            about = {"bbox": box, "bbox_mode": 1} if k % 2 else {"bbox": corners, "bbox_mode": 0}
            about |= {"category_id": i % 3, "segmentation": masks[k % 3], "iscrowd": int(k == 5)}
            annotations.append(about)
        about = {"image_id": i, "width": size[0], "height": size[1], "annotations": annotations}
        records.append({"file_name": str(path), **about})
    return SimpleNamespace(records=records, category_ids=(3, 7, 90), category_names=NAMES)


def perfect(split):
    """Return each object as a detection."""
    found = []
    for record in split.records:
        for k, one in enumerate(record["annotations"]):
            box = [2.0 * k, 1.0 * k, 8.0, 10.0]
            rle = rectangle(box, (record["width"], record["height"]))
            about = {"image_id": record["image_id"], "bbox": box, "score": 0.9 - 0.01 * k}
            about["segmentation"] = {**rle, "counts": rle["counts"].decode()}
            found.append(about | {"category_id": split.category_ids[one["category_id"]]})
    return found


def scenes(split, predictions):
    return detections._scenes(split, predictions)


def undrawn(out):
    return json.loads((out / FACTS).read_text())["undrawn"] if (out / FACTS).exists() else {}


@pytest.mark.parametrize("kind", ["masks", "boxes", "nothing"])
def test_detections_leave_four_pictures_of_the_same_bytes(tmp_path, split, kind):
    predictions = [] if kind == "nothing" else perfect(split)
    if kind == "boxes":  # as in VOC
        for one in [*predictions, *(a for r in split.records for a in r["annotations"])]:
            del one["segmentation"]
    kept = []
    for name in "ab":
        out = tmp_path / name
        out.mkdir()
        detection_figures(split, predictions, PER_CLASS, out)
        assert undrawn(out) == {}
        paths = sorted((out / "figures").iterdir())
        assert tuple(path.name for path in paths) == DETECTIONS
        assert all(shows(path) for path in paths)
        kept.append([path.read_bytes() for path in paths])
    assert kept[0] == kept[1]


def test_the_fixed_images_have_objects_and_do_not_depend_on_the_detector(split):
    shown = [
        [scene.record["image_id"] for scene in detections.fixed(scenes(split, found))]
        for found in ([], perfect(split))
    ]
    assert shown[0] == shown[1] == [1, 2, 3, 4, 5, 6]


def test_the_best_have_every_object_found_and_the_worst_the_most_errors(split):
    found = [one for one in perfect(split) if one["image_id"] not in (4, 7)]
    found += [one | {"category_id": 3, "image_id": 0} for one in found[:1]]  # nothing is there
    found += [one | {"score": 0.1} for one in perfect(split) if one["image_id"] == 7]  # too weak
    ids = [
        [scene.record["image_id"] for scene in choose(scenes(split, found))]
        for choose in (detections.best, detections.worst)
    ]
    assert ids[0] == [5, 6, 3]  # one of the 6 in image 6 is a crowd: 5 are found in both
    assert not set(ids[0]) & set(ids[1])
    assert ids[1][:3] == [7, 4, 0]
    assert [scene.match.f1 for scene in detections.best(scenes(split, found))] == [1.0] * 3


def test_a_missed_object_is_dashed_and_one_found_has_its_colour(tmp_path, split):
    split.records = split.records[3:4]
    whole = perfect(split)
    pixels = {}
    for name, found in (("all", whole), ("none", [])):
        out = tmp_path / name
        out.mkdir()
        detection_figures(split, found, PER_CLASS, out)
        picture = np.asarray(Image.open(out / "figures" / "detections.png"))
        half = 10 + 305 + 2  # margin, panel, half the gap
        pixels[name] = [
            int((part == colour(0)).all(axis=-1).sum()) for part in np.split(picture, [half], 1)
        ]
    assert 0 < pixels["none"][0] < pixels["all"][0]
    assert pixels["none"][1] == 0 < pixels["all"][1]


def test_an_image_that_is_gone_costs_its_pictures_and_says_which(tmp_path, split, caplog):
    gone = split.records[6]["file_name"]
    split.records[6]["file_name"] = gone + ".gone"
    detection_figures(split, perfect(split), PER_CLASS, tmp_path)
    assert set(undrawn(tmp_path)) == {"detections.png", "detections_best.png"}
    assert "000000000006.png.gone" in undrawn(tmp_path)["detections.png"]
    assert "detections.png could not be drawn" in caplog.text
    split.records[6]["file_name"] = gone
    detection_figures(split, perfect(split), PER_CLASS, tmp_path)
    assert undrawn(tmp_path) == {}
    assert {path.name for path in (tmp_path / "figures").iterdir()} == set(DETECTIONS)


def test_a_mask_of_another_size_and_an_unknown_class_are_told(tmp_path, split):
    found = perfect(split)
    found[0]["segmentation"] = rectangle([0, 0, 5, 5], (9, 9))
    detection_figures(split, found, PER_CLASS, tmp_path)
    assert "a mask is 9x9, its image 30x90" in undrawn(tmp_path)["detections.png"]
    found[0]["category_id"] = 5
    detection_figures(split, found, PER_CLASS, tmp_path)
    assert undrawn(tmp_path)["detections_worst.png"] == "KeyError: 5"


def test_a_photograph_on_its_side_is_turned_as_its_annotations_are(tmp_path, split):
    turned = Image.new("RGB", (48, 64), "red")
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(split.records[3]["file_name"], exif=exif)
    split.records[3] |= {"width": 64, "height": 48}
    assert detections._image(split.records[3]).size == (64, 48)


@pytest.fixture
def segmented(tmp_path):
    """Return images whose truth counts from 1, with 0 for what is not counted."""
    images = []
    for i, (width, height) in enumerate(SIZES):
        paths = [tmp_path / f"{i}{part}.png" for part in ("", "-truth", "-found")]
        Image.new("RGB", (width, height), (90, 10 * i, 60)).save(paths[0])
        truth = np.ones((height, width), np.uint8)
        truth[:, width // 2 :] = 3
        truth[: height // 4] = 0
        Image.fromarray(truth).save(paths[1])
        Image.fromarray(np.full((height, width), 2 * (i % 2), np.uint16)).save(paths[2])
        images.append(Segmented(*paths, miou=float("nan") if i == 2 else 10.0 * (i % 5)))
    return images


def read_truth(path):
    labels = read_labels(path)
    return np.where(labels == 0, 255, labels - 1)


def test_segmentations_leave_four_pictures_of_the_same_bytes(tmp_path, segmented):
    kept = []
    for name in "ab":
        out = tmp_path / name
        out.mkdir()
        segmentation_figures(segmented, NAMES, PER_CLASS, out, read_truth)
        assert undrawn(out) == {}
        paths = sorted((out / "figures").iterdir())
        assert tuple(path.name for path in paths) == SEGMENTATIONS
        kept.append([path.read_bytes() for path in paths])
    assert kept[0] == kept[1]


def test_only_classes_that_occur_are_drawn_and_named(tmp_path, segmented):
    segmentation_figures(segmented[:1], NAMES, PER_CLASS, tmp_path, read_truth)
    pixels = np.asarray(Image.open(tmp_path / "figures" / "segmentations.png"))
    areas = [int((pixels == colour(i)).all(axis=-1).sum()) for i in range(3)]
    assert areas[1] == 0
    assert areas[0] > areas[2] > 1000
    patch = (pixels[-40:, 10:30] == colour(0)).all(axis=-1)  # the legend is below the panels
    assert patch.any()
    assert not (pixels[-60:] == colour(1)).all(axis=-1).any()


def test_images_are_chosen_by_their_score_and_those_without_are_left_out(segmented):
    number = {id(one): i for i, one in enumerate(segmented)}
    chosen = [[number[id(one)] for one in choose(segmented)] for choose in (fixed, best, worst)]
    assert chosen == [[0, 1, 2, 4, 5, 6], [4, 3, 7], [0, 5, 1]]


def test_what_cannot_be_segmented_is_told_and_the_rest_is_drawn(tmp_path, segmented):
    Image.fromarray(np.full((20, 20), 9, np.uint8)).save(segmented[5].prediction)
    segmentation_figures(segmented, NAMES, PER_CLASS, tmp_path, read_truth)
    assert undrawn(tmp_path)["segmentations.png"] == (
        "ValueError: a label is 9; it must be 0 to 2, or 255"
    )
    assert (tmp_path / "figures" / "segmentations_best.png").exists()
    segmentation_figures([], NAMES, {}, tmp_path, read_truth)
    assert set(undrawn(tmp_path)) == set(SEGMENTATIONS)
    assert "no images" in undrawn(tmp_path)["segmentations_best.png"]


def test_a_label_map_in_colours_is_refused(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "rgb.png")
    with pytest.raises(ValueError, match="has 3 channels; a label map has one"):
        read_labels(tmp_path / "rgb.png")
