import dataclasses
import json
import os
import signal

import pytest
import torch
from detection_case import TINY
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import LazyConfig, instantiate
from detectron2.engine import HookBase
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from torch import nn

from mae_bench.kit.fit import for_toolbox
from mae_bench.kit.keeper import ALONE
from transfer.detectron2_adapter import detect as engine
from transfer.detectron2_adapter.data import read_split
from transfer.detectron2_adapter.detect import detect
from transfer.detectron2_adapter.evaluation import coco_data
from transfer.detectron2_adapter.model import build_detector
from transfer.detectron2_adapter.parts import attempt
from transfer.detectron2_adapter.vitdet import model_config


def newest(ctx):
    return torch.load(max((ctx.out / "checkpoints").glob("step-*.pt")), weights_only=True)


def read(path):
    return json.loads(path.read_text())


def gradients(ctx):
    """Return parameter -> its gradient in the one step taken: Adam's first moment is a tenth."""
    config, state = LazyConfig.load(str(ctx.out / "config.yaml")), newest(ctx)["optimizer"]["state"]
    names = [name for group in config.optimizer_groups for name in group.params]
    return {name: 10 * state[i]["exp_avg"] for i, name in enumerate(names)}


def test_parts_add_up_to_the_gradient_of_the_whole_batch(job, counted):
    """For the proposal network, all of whose anchors are kept: its loss is a mean over images.

    The heads' losses are means over what was sampled in a part, in detectron2 as on its GPUs, so
    theirs agree only roughly.
    """
    recipe = dataclasses.replace(
        TINY, iterations=1, milestones=(), warmup_iterations=0, rpn_samples=10_000
    )
    found = {}
    for name, micro in (("whole", 4), ("parts", 1)):
        words = job(name, recipe, micro_batch=micro)
        detect(*words, counted)
        found[name] = gradients(words[1])
        assert read(words[1].out / "facts.json")["training"]["micro_batch"] == micro
    compared = [name for name in found["whole"] if name.startswith("proposal_generator")]
    assert len(compared) >= 6
    for name in compared:
        whole, parts = found["whole"][name], found["parts"][name]
        torch.testing.assert_close(parts, whole, rtol=1e-3, atol=1e-5 * float(whole.abs().max()))
    whole, parts = (found[n]["roi_heads.box_head.fc1.weight"].flatten() for n in found)
    assert torch.nn.functional.cosine_similarity(whole, parts, dim=0) > 0.9


def test_a_mask_task_refuses_data_with_boxes_alone(job, roots):
    data = dataclasses.replace(coco_data(roots["coco"]), masks=False)
    with pytest.raises(
        ValueError, match=r"boxes only, but coco_vitdet needs masks; add .*or use voc"
    ):
        detect(*job("boxes"), data)


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        ({"compile": "on"}, "it is not compiled; use --compile auto or off"),
        ({"shard": "fsdp"}, "use --shard ddp"),
        ({"micro_batch": 3}, "a micro-batch of 3 does not divide the 4 images"),
    ],
)
def test_what_a_detector_cannot_do_is_refused(job, compute, message):
    with pytest.raises(ValueError, match=message):
        detect(*job("refused", **compute))


def test_detectron2_alone_predicts_the_same_from_what_is_left(job, roots):
    words = job("left", dataclasses.replace(TINY, detections_per_image=20))
    detect(*words)
    config = LazyConfig.load(str(words[1].out / "config.yaml"))
    model = instantiate(config.model).eval()
    left = DetectionCheckpointer(model).load(str(words[1].out / "model_final.pth"))
    assert set(left) == {"__author__"} or not left.get("model")
    mapper, split, found = instantiate(config.dataloader.test.mapper), None, []
    split = read_split(roots["coco"], "val")
    for record in split.records:
        mapped = mapper(record)
        with torch.no_grad():
            output = model([mapped])[0]["instances"]
        found += instances_to_coco_json(output, record["image_id"])
    for one in found:
        one["category_id"] = split.category_ids[one["category_id"]]
    ours = read(words[1].out / "predictions.json")
    assert len(ours) > 0
    assert json.loads(json.dumps(found)) == ours
    schedule = instantiate(config.lr_multiplier)
    assert [schedule(i / 4) for i in range(4)] == [TINY.lr_factor(i) for i in range(4)]
    config.optimizer.params.detector = model
    groups = instantiate(config.optimizer).param_groups
    assert [g["weight_decay"] for g in groups] == [g.weight_decay for g in config.optimizer_groups]
    assert [len(g["params"]) for g in groups] == [len(g.params) for g in config.optimizer_groups]


class StopAt(HookBase):
    def __init__(self, iteration):
        self.iteration = iteration

    def before_step(self):
        if self.trainer.iter == self.iteration:
            os.kill(os.getpid(), signal.SIGTERM)


def test_the_scaler_of_half_precision_survives_a_stop(job, counted, monkeypatch):
    small = {"image_size": 32, "roi_samples": 4, "rpn_proposals": 4, "mask_convs": 0}
    recipe = dataclasses.replace(TINY, iterations=2, milestones=(), batch_size=2, **small)
    whole, cut = (job(name, recipe, precision="fp16") for name in ("whole", "cut"))
    assert detect(*whole, counted) == {"images": 1}
    register = engine.PartsTrainer.register_hooks
    with monkeypatch.context() as patch:
        stop = lambda self, hooks: register(self, [StopAt(0), *hooks])  # noqa: E731
        patch.setattr(engine.PartsTrainer, "register_hooks", stop)
        with pytest.raises(SystemExit) as end:
            detect(*cut, counted)
    assert end.value.code == 75
    assert newest(cut[1])["step"] == 1
    detect(*cut, counted)
    one, other = newest(whole[1]), newest(cut[1])
    scaler = one["extra"]["trainer"]["grad_scaler"]
    assert scaler == other["extra"]["trainer"]["grad_scaler"]
    assert scaler["_growth_tracker"] == 2 or scaler["scale"] < 2**16
    for name, tensor in one["module"].items():
        assert torch.equal(tensor, other["module"][name]), name
    assert read(cut[1].out / "facts.json")["training"]["precision"] == "float16"


def test_trying_what_fits_leaves_no_trace(encoder_of):
    fitting = for_toolbox(encoder_of(), "detectron2")
    detector = build_detector(model_config(TINY, fitting, 8), fitting).eval()
    detector.extra = nn.BatchNorm2d(16)
    before = {n: t.clone() for n, t in detector.state_dict().items()}
    attempt(detector, TINY, 2, ALONE)
    assert not detector.training
    assert all(parameter.grad is None for parameter in detector.parameters())
    assert all(torch.equal(t, before[n]) for n, t in detector.state_dict().items())


def test_another_recipe_does_not_continue_the_run(job, counted):
    detect(*job("mine"), counted)
    other = dataclasses.replace(TINY, lr=1e-5)
    with pytest.raises(ValueError, match=r"of another run: lr: 0\.0008 in the checkpoint, 1e-05"):
        detect(*job("mine", other), counted)
    words = job("mine", other, force=True)
    detect(*words, counted)
    assert "lr: 0.0008 in the checkpoint" in str(read(words[1].out / "facts.json"))


def test_an_image_that_is_not_scored_is_seen(job, roots):
    data = coco_data(roots["coco"])
    with pytest.raises(AssertionError):
        detect(*job("fewer"), dataclasses.replace(data, test=data.test[:7]))


@pytest.mark.parametrize("allowed", [0.0, 0.1])
def test_an_unreadable_image_is_replaced_as_long_as_few_are(
    job, counted, tmp_path, caplog, allowed
):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    first, *rest = counted.train
    data = dataclasses.replace(counted, train=[first | {"file_name": str(broken)}, *rest])
    if allowed == 0.0:
        with pytest.raises(ValueError, match=r"1 unreadable images, at most 0 .*broken\.jpg"):
            detect(*job("none", bad_images=allowed), data)
        return
    detect(*job("few", bad_images=allowed), data)
    assert caplog.text.count("unreadable image, another is taken") == 1
