import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from faster_coco_eval import COCO, COCOeval_faster

from mae_bench.report.average_precision import read_found
from mae_bench.report.per_image import Refusal, Replicates, replicates
from transfer.detectron2_adapter.matches import MATCHES, all_matches, write_matches

CATEGORIES = (1, 2, 5, 90)
SIDE = 200


def boxes(random, count):
    corner, size = random.uniform(0, 140, (count, 2)), random.uniform(5, 60, (count, 2))
    return np.hstack([corner, size])


def random_scenes(seed, num_images=30, ties="anywhere"):
    """Return a COCO data set and detections: crowds, empty images, a category without objects.

    Scores are of two digits, so that many are equal; of one image's `between images` none are.
    """
    random = np.random.default_rng(seed)
    objects, found = [], []
    for image in range(1, num_images + 1):
        count = 0 if image % 7 == 0 else int(random.integers(1, 9))
        truth, labels = boxes(random, count), random.choice(CATEGORIES[:3], count)
        for box, label in zip(truth, labels, strict=True):
            one = {"id": len(objects) + 1, "image_id": image, "category_id": int(label)}
            one |= {"bbox": box.tolist(), "area": float(box[2] * box[3])}
            objects.append(one | {"iscrowd": int(random.random() < 0.15)})
        guesses = np.vstack([truth, truth, truth, boxes(random, 5)])
        guesses += random.normal(0, 2, guesses.shape) * (random.random((len(guesses), 1)) < 0.8)
        digits = random.permutation(100) if ties == "between images" else random.integers(0, 99, 99)
        kinds = np.r_[labels, labels, labels, random.choice(CATEGORIES, 5)]
        for box, label, score in zip(guesses, kinds, digits / 100, strict=False):
            sides = [*box[:2].tolist(), *np.maximum(box[2:], 1).tolist()]
            one = {"image_id": image, "category_id": int(label), "bbox": sides}
            found.append(one | {"score": float(score)})
    images = [{"id": i, "width": SIDE, "height": SIDE} for i in range(1, num_images + 1)]
    categories = [{"id": i, "name": f"kind {i}"} for i in CATEGORIES]
    return {"images": images, "annotations": objects, "categories": categories}, found


def scored(truth, found):
    """Return faster-coco-eval's box AP in percent, and the matches that we keep."""
    truth = COCO(json.loads(json.dumps(truth)))
    result = truth.loadRes(json.loads(json.dumps(found)))
    evaluation = COCOeval_faster(truth, result, "bbox", print_function=lambda *_: None)
    evaluation.run()
    return 100 * evaluation.stats[0], all_matches(truth, result, evaluation.ious)


def keep(folder, matches):
    (folder / "job").mkdir(parents=True, exist_ok=True)
    write_matches(folder / "job" / MATCHES, {"bbox": matches})
    table = pq.read_table(folder / "job" / MATCHES)
    return read_found(table, table["image"].unique())


@pytest.mark.parametrize("seed", range(5))
def test_matches_give_coco_s_ap_back(tmp_path, seed):
    ap, matches = scored(*random_scenes(seed))
    assert 20 < ap < 80
    found = keep(tmp_path, matches)
    assert found.unscored.any()
    assert found.average_precision(np.ones(30)) == pytest.approx(ap, abs=1e-9)


def test_only_the_best_hundred_of_a_category_count(tmp_path):
    truth, found = random_scenes(0)
    few = [dict(one, image_id=1, category_id=1, score=one["score"] / 2 + 0.5) for one in found]
    ap, matches = scored(truth, few)
    assert len(few) > 200
    assert len(matches.scores) == 100
    assert keep(tmp_path, matches).average_precision(np.ones(30)) == pytest.approx(ap, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_images_that_count_twice_are_as_if_they_were_there_twice(tmp_path, seed):
    truth, found = random_scenes(seed, ties="between images")
    counts = np.random.default_rng(seed).integers(0, 4, 30)
    again = {"categories": truth["categories"], "images": [], "annotations": []}
    detections = []
    for one in truth["images"]:
        for copy in range(counts[one["id"] - 1]):
            new = 10 * one["id"] + copy  # copies stay where the image was
            again["images"].append(one | {"id": new})
            same = [x for x in truth["annotations"] if x["image_id"] == one["id"]]
            for x in same:
                number = len(again["annotations"]) + 1
                again["annotations"].append(x | {"id": number, "image_id": new})
            same = [x for x in found if x["image_id"] == one["id"]]
            detections += [x | {"image_id": new} for x in same]
    expected, _ = scored(again, detections)
    ours = keep(tmp_path, scored(truth, found)[1]).average_precision(counts.astype(float))
    assert ours == pytest.approx(expected, abs=1e-9)


def test_a_job_s_matches_are_resampled_and_another_number_is_refused(tmp_path):
    ap, matches = scored(*random_scenes(0))
    keep(tmp_path, matches)
    found = replicates(tmp_path, "job", "matches", "box_ap", ap)
    assert isinstance(found, Replicates)
    assert abs(found.values.mean() - ap) < 3
    assert 0.5 < found.values.std() < 10
    refused = replicates(tmp_path, "job", "matches", "box_ap", ap + 0.01)
    assert isinstance(refused, Refusal)
    assert "the result says" in refused.reason


def test_the_same_test_images_are_known_whatever_was_found(tmp_path):
    truth, found = random_scenes(0)
    hashes = []
    for name, guesses in (("one", found), ("other", found[::2]), ("third", found)):
        if name == "third":
            first = next(one for one in truth["annotations"] if not one["iscrowd"])
            truth["annotations"].remove(first)
        ap, matches = scored(truth, guesses)
        keep(tmp_path / name, matches)
        hashes.append(replicates(tmp_path / name, "job", "matches", "box_ap", ap).images)
    assert hashes[0] == hashes[1] != hashes[2]


def test_without_any_detection_every_sample_has_an_ap_of_zero(tmp_path):
    truth, _ = random_scenes(0)
    keep(tmp_path, all_matches(COCO(truth), COCO(), {}))
    found = replicates(tmp_path, "job", "matches", "box_ap", 0.0)
    assert isinstance(found, Replicates)
    assert not found.values.any()
