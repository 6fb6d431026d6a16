import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mae_bench.report.per_image import Replicates, replicates
from transfer.detectron2_adapter.data import read_split
from transfer.detectron2_adapter.evaluation import METRICS, coco_scores, coco_stats
from transfer.detectron2_adapter.matches import MATCHES, write_matches


def guessed(truth, seed=0):
    """Return two noisy detections of each object, some under a wrong class."""
    rng = np.random.default_rng(seed)
    first = min(truth.getCatIds())
    found = []
    for one in truth.dataset["annotations"]:
        for _ in range(2):
            box = np.array(one["bbox"], float) + rng.normal(0, 2.5, 4)
            box[2:] = np.maximum(box[2:], 1)
            mask = truth.annToRLE(one)
            counts = mask["counts"]
            text = counts.decode() if isinstance(counts, bytes) else counts
            found.append(
                {
                    "image_id": one["image_id"],
                    "category_id": one["category_id"] if rng.random() < 0.8 else first,
                    "bbox": box.tolist(),
                    "score": float(rng.random()),
                    "segmentation": {"size": mask["size"], "counts": text},
                }
            )
    return found


def reference(path, found, kind):
    """Return pycocotools' 12 numbers and the AP of each class."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        results = [dict(one) for one in found]
        if kind == "segm":
            results = [{k: v for k, v in one.items() if k != "bbox"} for one in results]
        scored = COCOeval(truth, truth.loadRes(results), kind)
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    aps = []
    for k in range(len(scored.params.catIds)):
        precision = scored.eval["precision"][:, :, k, 0, -1]
        precision = precision[precision > -1]
        aps.append(100 * precision.mean() if precision.size else None)
    return scored.stats, aps


def awkward(root, tmp_path):
    """Return a copy of the data with crowds, empty images, another gap, and mixed masks."""
    (tmp_path / "annotations").mkdir()
    for split in ("train2017", "val2017"):
        (tmp_path / split).symlink_to(root / split)
        name = f"annotations/instances_{split}.json"
        content = json.loads((root / name).read_bytes())
        whole = COCO(str(root / name))
        content["categories"].append({"id": 90, "name": "ball", "supercategory": "thing"})
        images = [image["id"] for image in content["images"]]
        kept = [one for one in content["annotations"] if one["image_id"] != images[0]]
        for i, one in enumerate(kept):
            if one["image_id"] == images[1]:  # an image with nothing but a crowd
                one["iscrowd"] = 1
            if one["iscrowd"] or i % 3 == 0:
                mask = whole.annToRLE(one)
                one["segmentation"] = {"size": mask["size"], "counts": mask["counts"].decode()}
            if i % 5 == 0:
                one["category_id"] = 90
        content["annotations"] = kept
        (tmp_path / name).write_text(json.dumps(content))
    return tmp_path


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("data", ["plain", "awkward"])
def test_scores_equal_pycocotools(roots, tmp_path, data, kind):
    root = roots["coco"] if data == "plain" else awkward(roots["coco"], tmp_path)
    split = read_split(root, "val")
    truth = COCO(str(split.annotations))
    found = guessed(truth)
    stats, aps = reference(split.annotations, found, kind)
    ours = coco_scores(split, found, kind)
    np.testing.assert_allclose(ours.stats, stats, atol=1e-9)
    assert 0.05 < ours.stats[0] <= 1.0
    expected = dict(zip(split.category_names, aps, strict=True))
    assert ours.per_class.keys() == expected.keys()
    for name, value in expected.items():
        assert ours.per_class[name] == (None if value is None else pytest.approx(value)), name
    assert ours.named["AP75"] == pytest.approx(100 * stats[2])
    assert ours.named["APl"] is None  # no object of the demo is large
    crowds = sum(one["iscrowd"] for one in truth.dataset["annotations"])
    assert crowds > 0 or data == "plain"


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_the_matches_that_are_kept_give_the_ap_back(roots, tmp_path, kind):
    split = read_split(awkward(roots["coco"], tmp_path), "val")
    ours = coco_scores(split, guessed(COCO(str(split.annotations))), kind)
    (tmp_path / "job").mkdir()
    write_matches(tmp_path / "job" / MATCHES, {kind: ours.matches})
    found = replicates(tmp_path, "job", "matches", METRICS[kind], 100 * ours.stats[0])
    assert isinstance(found, Replicates)
    assert found.values.std() > 0


def test_no_detection_at_all_scores_zero(roots):
    split = read_split(roots["coco"], "val")
    assert coco_stats(split, [], "bbox") == [0.0] * 12
    assert set(coco_scores(split, [], "bbox").per_class.values()) <= {0.0, None}


def test_classes_of_one_name_stay_apart(roots, tmp_path):
    names = read_split(awkward(roots["coco"], tmp_path), "val").category_names
    assert (names[0], names[-1]) == ("ball (id 1)", "ball (id 90)")
    assert len(set(names)) == len(names) == 9


def test_a_data_set_with_its_own_file_names_is_read(roots, tmp_path):
    root = Path(roots["coco"])
    (tmp_path / "annotations").mkdir()
    for split in ("train", "val"):
        (tmp_path / f"{split}_shapes").symlink_to(root / f"{split}2017")
        (tmp_path / "annotations" / f"instances_{split}_shapes.json").symlink_to(
            root / "annotations" / f"instances_{split}2017.json"
        )
    assert read_split(tmp_path, "val").category_ids == read_split(root, "val").category_ids
