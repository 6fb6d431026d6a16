import dataclasses
import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mae_bench.kit.encoder import write_encoder
from mae_bench.kit.spec import named_spec
from mae_bench.kit.vit import VisionTransformer, init_weights
from transfer.coco_vitdet import CocoVitDet

TINY = dataclasses.replace(
    CocoVitDet.demo(),
    image_size=64,
    iterations=6,
    milestones=(4,),
    warmup_iterations=2,
    batch_size=6,
    drop_path=0.2,
    pyramid_width=16,
    box_width=16,
    rpn_proposals=20,
    detections_per_image=5,
)
FIELDS = dataclasses.asdict(TINY)
DRIVER = Path(__file__).with_name("drive_detection.py")


def run(out, ranks=1, ends=(), **compute):
    return {"out": str(out), "fields": FIELDS, "compute": compute, "ranks": ranks, "ends": ends}


def newest(out):
    return torch.load(max((out / "checkpoints").glob("step-*.pt")), weights_only=True)


def read(path):
    return json.loads(path.read_text())


def log_of(out):
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "loss" in line]


def assert_same_weights(one, other, **tolerance):
    one, other = newest(one)["module"], newest(other)["module"]
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], msg=name, **tolerance)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, roots):
    """Return the folders of jobs with the same recipe: whole, killed, and on several ranks."""
    folder = tmp_path_factory.mktemp("runs")
    spec, encoder = named_spec("vit_smoke_patch8", 64, origin="mae"), folder / "encoder.safetensors"
    torch.manual_seed(0)
    model = VisionTransformer(spec)
    init_weights(model)
    write_encoder(encoder, spec, model.state_dict())
    rng = random.Random(0)
    kills = [(int(signal.SIGKILL), rng.uniform(0.2, 1.6)) for _ in range(4)]
    jobs = [
        run(folder / "whole", keep=10),
        run(folder / "killed", ends=kills),
        run(folder / "parts", micro_batch=1),
        run(folder / "ranks", ranks=3, micro_batch=1, ends=[(int(signal.SIGTERM), 2)]),
    ]
    spec = {"data": str(roots["coco"]), "encoder": str(encoder), "runs": jobs}
    (folder / "spec.json").write_text(json.dumps(spec))
    command = [sys.executable, DRIVER, folder / "spec.json"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert answer.returncode == 0, answer.stderr
    return folder


def test_a_run_killed_at_random_moments_ends_as_if_it_had_not_been(runs):
    codes = read(runs / "killed" / "codes.json")
    assert codes[:4] == [[-signal.SIGKILL]] * 4
    assert codes[4:] == [[0]]
    assert read(runs / "killed" / "metrics.json") == read(runs / "whole" / "metrics.json")
    assert_same_weights(runs / "whole", runs / "killed", rtol=0, atol=0)
    steps = [line["step"] for line in log_of(runs / "killed")]
    assert steps[-1] == TINY.iterations
    assert len(steps) < 5 * TINY.iterations


def test_three_ranks_take_the_steps_of_one_rank_with_the_same_parts(runs):
    """Each part of one image draws what it draws on one rank, so only rounding may differ.

    With parts of other sizes the heads' losses would differ: detectron2 divides them by the
    number of proposals that it sampled in a part. The tolerance is for the keys' bias alone, whose
    gradient is rounding noise that Adam enlarges.
    """
    facts = [read(runs / name / "facts.json")["training"] for name in ("parts", "ranks")]
    assert [(one["world"], one["micro_batch"]) for one in facts] == [(1, 1), (3, 1)]
    assert_same_weights(runs / "parts", runs / "ranks", rtol=1e-4, atol=1e-5)
    last = [log_of(runs / name)[5] for name in ("parts", "ranks")]
    for name in ("loss", "loss_cls", "loss_box_reg", "loss_mask", "loss_rpn_cls"):
        assert last[0][name] == pytest.approx(last[1][name], rel=1e-4)


def test_a_signal_to_one_rank_stops_all_and_they_go_on(runs):
    codes = read(runs / "ranks" / "codes.json")
    assert codes == [[75] * 3, [0] * 3]


def test_three_ranks_score_every_image_once(runs):
    found = [read(runs / name / "predictions.json") for name in ("parts", "ranks")]
    assert len(found[0]) == len(found[1]) > 0
    for one, other in zip(*found, strict=True):
        assert (one["image_id"], one["category_id"]) == (other["image_id"], other["category_id"])
        assert one["bbox"] == pytest.approx(other["bbox"], abs=1e-2)
        assert one["score"] == pytest.approx(other["score"], abs=1e-4)
    metrics = [read(runs / name / "metrics.json") for name in ("parts", "ranks")]
    assert metrics[0] == pytest.approx(metrics[1], abs=1e-3)


def test_the_optimizer_follows_the_recipes_schedule(runs):
    for path in (runs / "whole" / "checkpoints").glob("step-*.pt"):
        state = torch.load(path, weights_only=True)
        factor = TINY.lr_factor(state["step"])  # of the step that comes next
        for group in state["optimizer"]["param_groups"]:
            assert group["lr"] == pytest.approx(group["initial_lr"] * factor)
        assert state["extra"]["trainer"]["iteration"] == state["step"] - 1


def test_progress_tells_every_loss(runs):
    for line in log_of(runs / "whole"):
        parts = [value for name, value in line.items() if name.startswith("loss_")]
        assert len(parts) == 5
        assert line["loss"] == pytest.approx(sum(parts), rel=1e-5)
        assert line["images_per_s"] > 0
        assert 0 <= line["data_wait"] <= 1
    assert [line["lr"] for line in log_of(runs / "whole")] == pytest.approx(
        [TINY.lr * TINY.lr_factor(i) for i in range(TINY.iterations)]
    )
