import dataclasses
import json
import math

import pytest
import torch
from detectron2.data.datasets.pascal_voc import CLASS_NAMES
from detectron2.structures import Boxes, Instances

from mae_bench.core.recipe import Context
from mae_bench.kit.fit import for_toolbox
from mae_bench.kit.voc_files import MAIN_2007, MAIN_2012, VOC_CLASSES, read_annotation, read_ids
from mae_bench.kit.voc_scenes import NAMES
from transfer.detectron2_adapter.model import build_detector
from transfer.detectron2_adapter.voc import VocEvaluator, model_config, voc_data
from transfer.voc_detection import VocDetection

TINY = dataclasses.replace(
    VocDetection.demo(),
    image_size=64,
    iterations=2,
    milestones=(1,),
    warmup_iterations=1,
    batch_size=2,
    pyramid_width=16,
    box_width=16,
    rpn_proposals=20,
    detections_per_image=5,
)


def truth(root, image):
    """Return the objects of a test image from its file."""
    return read_annotation(root / "VOC2007" / "Annotations" / f"{image}.xml").objects


def scores(root, out, moved=0.0, also_difficult=True, times=1):
    """Return the metrics of detections that are the truth, moved right by a share of the width."""
    names = voc_data(root).class_names
    evaluator = VocEvaluator(root, names, out)
    evaluator.reset()
    for image in read_ids(root, MAIN_2007, "test"):
        objects = [one for one in truth(root, image) if also_difficult or not one.difficult] * times
        boxes = torch.tensor([one.box for one in objects], dtype=torch.float64).reshape(-1, 4)
        boxes[:, :2] -= 1  # VOC counts pixels from 1 and includes the last
        boxes[:, ::2] += moved * (boxes[:, 2:3] - boxes[:, :1])
        found = Instances((64, 64))
        found.pred_boxes, found.scores = Boxes(boxes.float()), torch.full((len(boxes),), 0.5)
        found.pred_classes = torch.tensor([names.index(one.name) for one in objects])
        evaluator.process([{"image_id": image}], [{"instances": found}])
    return evaluator.evaluate()


def test_classes_are_detectron2s():
    assert VOC_CLASSES == CLASS_NAMES


def test_training_takes_both_years_and_the_test_the_first(devkit):
    data = voc_data(devkit)
    ids = [one["image_id"] for one in data.train]
    assert ids == [
        *read_ids(devkit, MAIN_2007, "trainval"),
        *read_ids(devkit, MAIN_2012, "trainval"),
    ]
    assert [one["image_id"] for one in data.test] == read_ids(devkit, MAIN_2007, "test")
    assert not set(ids) & {one["image_id"] for one in data.test}
    assert set(data.class_names) <= set(NAMES.values())
    assert list(data.class_names) == sorted(data.class_names, key=VOC_CLASSES.index)
    assert not data.masks


def test_boxes_and_classes_are_those_of_the_files(devkit):
    data = voc_data(devkit)
    for record in data.test:
        objects = [o for o in truth(devkit, record["image_id"]) if o.name in data.class_names]
        assert [data.class_names[one["category_id"]] for one in record["annotations"]] == [
            one.name for one in objects
        ]
        for found, one in zip(record["annotations"], objects, strict=True):
            xmin, ymin, xmax, ymax = one.box
            assert found["bbox"] == [xmin - 1, ymin - 1, xmax, ymax]


def test_the_truth_scores_100(devkit, tmp_path):
    assert scores(devkit, tmp_path) == pytest.approx({"ap50": 100, "ap": 100, "ap75": 100})
    per_class = json.loads((tmp_path / "facts.json").read_text())["class_ap"]["bbox"]
    assert all(ap == pytest.approx(100) for ap in per_class.values())
    assert list(per_class) == list(voc_data(devkit).class_names)
    assert all((tmp_path / "predictions" / f"{name}.txt").stat().st_size for name in per_class)


def test_difficult_objects_may_be_missed(devkit, tmp_path):
    assert any(o.difficult for i in read_ids(devkit, MAIN_2007, "test") for o in truth(devkit, i))
    found = scores(devkit, tmp_path, also_difficult=False)
    assert found == pytest.approx({"ap50": 100, "ap": 100, "ap75": 100})


def test_boxes_moved_by_a_fifth_pass_at_50_and_fail_at_75(devkit, tmp_path):
    found = scores(devkit, tmp_path, moved=0.2)  # overlap 0.8 / 1.2 = 0.67: passes 4 of 10
    assert found["ap50"] == pytest.approx(100)
    assert found["ap75"] < 50
    assert 25 < found["ap"] < 60


def test_an_object_found_twice_counts_once(devkit, tmp_path):
    assert scores(devkit, tmp_path, times=2)["ap50"] < 100


def test_nothing_found_scores_zero(devkit, tmp_path):
    assert scores(devkit, tmp_path, times=0) == {"ap50": 0.0, "ap": 0.0, "ap75": 0.0}


def test_the_detector_has_no_masks_and_the_encoder_arrives(encoder_of):
    encoder = encoder_of()
    fitting = for_toolbox(encoder, "detectron2")
    detector = build_detector(model_config(TINY, fitting, 8), fitting)
    assert not detector.roi_heads.mask_on
    assert not any("mask" in name for name, _ in detector.named_parameters())
    state = detector.backbone.net.state_dict()
    for name, tensor in encoder.state.items():
        if not name.startswith(("cls_token", "norm.")):
            assert torch.equal(state[name], tensor), name


def test_a_run_trains_and_scores(tmp_path, write, devkit):
    found = TINY.run(Context(tmp_path, 0, devkit, write()))
    assert list(found) == ["ap50", "ap", "ap75"]
    assert all(0 <= value <= 100 and math.isfinite(value) for value in found.values())
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts["data"]["images"] == len(voc_data(devkit).train)


def test_no_values_are_claimed_to_be_published():
    assert VocDetection.published_archs == VocDetection.published_origins == ()
    one = VocDetection.published("vit_base_patch16", "mae")
    assert (one.iterations, one.batch_size, one.milestones) == (24000, 16, (18000, 22000))
    assert VocDetection.published("vit_large_patch16", "supervised").layer_decay == 1.0
