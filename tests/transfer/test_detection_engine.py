import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from mae_bench.kit.encoder import write_encoder
from mae_bench.kit.spec import named_spec
from mae_bench.kit.vit import VisionTransformer, init_weights
from mae_bench.report.per_image import Replicates, replicates
from transfer.coco_maskrcnn_fpn import CocoMaskRcnnFpn
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
WIDE = {"scale_min": 0.5, "scale_max": 4.0}  # crops often hold no object
FPN = {
    "task": "coco_maskrcnn_fpn",
    "fields": dataclasses.asdict(
        dataclasses.replace(
            CocoMaskRcnnFpn.demo(),
            image_size=64,
            iterations=8,
            warmup_iterations=1,
            batch_size=2,
            pyramid_width=16,
            box_width=16,
            rpn_proposals=20,
            detections_per_image=5,
            **WIDE,
        )
    ),
}
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
    kills = [
        (int(signal.SIGKILL), lines) for lines in (2, 4, 7)
    ]  # steps are taken and logged again
    jobs = [
        run(folder / "whole", micro_batch=1, keep=10),
        run(folder / "killed", micro_batch=1, ends=kills),
        run(folder / "ranks", ranks=3, micro_batch=1, ends=[(int(signal.SIGTERM), 2)]),
        run(folder / "fpn", ranks=2, micro_batch=1, precision="bf16") | FPN,
    ]
    spec = {"data": str(roots["coco"]), "encoder": str(encoder), "runs": jobs}
    (folder / "spec.json").write_text(json.dumps(spec))
    command = [sys.executable, DRIVER, folder / "spec.json"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert answer.returncode == 0, answer.stderr
    return folder


def test_a_run_killed_several_times_ends_as_if_it_had_not_been(runs):
    codes = read(runs / "killed" / "codes.json")
    assert codes[:3] == [[-signal.SIGKILL]] * 3
    assert codes[3:] == [[0]]
    found = read(runs / "killed" / "found.json")
    assert found[0] == 0
    assert any(0 < step < TINY.iterations for step in found), found
    assert read(runs / "killed" / "metrics.json") == read(runs / "whole" / "metrics.json")
    assert_same_weights(runs / "whole", runs / "killed", rtol=0, atol=0)
    steps = [line["step"] for line in log_of(runs / "killed")]
    assert steps[-1] == TINY.iterations
    assert len(steps) < 4 * TINY.iterations


def test_ranks_without_any_mask_take_part_in_the_batch_norm_of_others(runs):
    rows = [read(runs / "fpn" / f"mask_rows-{rank}.json") for rank in (0, 1)]
    taken = list(zip(*rows, strict=True))
    assert len(taken) == 8
    assert any((one == 0) != (other == 0) for one, other in taken), taken
    state = newest(runs / "fpn")["module"]
    assert all(tensor.isfinite().all() for tensor in state.values())
    norm = "roi_heads.mask_head.mask_fcn1.norm.0."
    assert state[norm + "num_batches_tracked"] == sum(sum(one) > 0 for one in taken)
    assert (state[norm + "running_mean"] != 0).any()


def test_three_ranks_take_the_steps_of_one_rank_with_the_same_parts(runs):
    """Each part of one image draws what it draws on one rank, so only rounding may differ.

    With parts of other sizes the heads' losses would differ: detectron2 divides them by the
    number of proposals that it sampled in a part. The tolerance is for the keys' bias alone, whose
    gradient is rounding noise that Adam enlarges.
    """
    facts = [read(runs / name / "facts.json")["training"] for name in ("whole", "ranks")]
    assert [(one["world"], one["micro_batch"]) for one in facts] == [(1, 1), (3, 1)]
    assert_same_weights(runs / "whole", runs / "ranks", rtol=1e-4, atol=1e-5)
    last = [log_of(runs / name)[5] for name in ("whole", "ranks")]
    for name in ("loss", "loss_cls", "loss_box_reg", "loss_mask", "loss_rpn_cls"):
        assert last[0][name] == pytest.approx(last[1][name], rel=1e-4)


def test_a_signal_to_one_rank_stops_all_and_they_go_on(runs):
    codes = read(runs / "ranks" / "codes.json")
    assert codes == [[75] * 3, [0] * 3]


def test_three_ranks_score_every_image_once(runs):
    found = [read(runs / name / "predictions.json") for name in ("whole", "ranks")]
    assert len(found[0]) == len(found[1]) > 0
    for one, other in zip(*found, strict=True):
        assert (one["image_id"], one["category_id"]) == (other["image_id"], other["category_id"])
        assert one["bbox"] == pytest.approx(other["bbox"], abs=1e-2)
        assert one["score"] == pytest.approx(other["score"], abs=1e-4)
    metrics = [read(runs / name / "metrics.json") for name in ("whole", "ranks")]
    assert metrics[0] == pytest.approx(metrics[1], abs=1e-3)


@pytest.mark.parametrize("name", ["whole", "ranks"])
def test_the_aps_follow_from_the_matches_that_a_run_leaves(runs, name):
    for metric, value in read(runs / name / "metrics.json").items():
        found = replicates(runs, name, "matches", metric, value)
        assert isinstance(found, Replicates), found
    kept = pq.read_table(runs / name / "matches.parquet").to_pandas()
    detections = kept[kept["score"].notna()].groupby("kind")["score"]
    scores = sorted(one["score"] for one in read(runs / name / "predictions.json"))
    for kind in ("bbox", "segm"):
        assert sorted(detections.get_group(kind)) == scores


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
