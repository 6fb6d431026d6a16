"""Runs detection jobs on one rank or several, some killed on the way: drive_detection.py SPEC.

SPEC is a JSON file: data, encoder, and `runs`, each with out, fields, compute, ranks and `ends`, a
list of [signal number, when]: the run is started again after each. The signal comes when that many
steps are logged, SIGKILL to all ranks, SIGTERM to the first one. Everything is imported once, and
each rank is a fork. Metrics go to OUT/metrics.json, exit codes to OUT/codes.json, the checkpoint
found at each start to OUT/found.json, and the rows of the mask head in each of a rank's steps to
OUT/mask_rows-RANK.json. `task` is coco_vitdet where it is not given.
"""

import json
import os
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

import torch
from detectron2.modeling.roi_heads.mask_head import BaseMaskRCNNHead

import transfer.detectron2_adapter.fpn
import transfer.detectron2_adapter.vitdet  # noqa: F401 - so that no child has to import it again
from mae_bench.core.compute import Compute, write_compute
from mae_bench.core.recipe import Context, build
from mae_bench.core.registry import load
from mae_bench.kit import pace
from mae_bench.kit.parting import part
from transfer.detectron2_adapter import detect  # noqa: F401


def train(spec, run):
    out = Path(run["out"])
    recipe = build(load(run.get("task", "coco_vitdet")), run["fields"])
    rows = mask_rows()
    metrics = recipe.run(Context(out, 1, Path(spec["data"]), Path(spec["encoder"])))
    part()
    (out / f"mask_rows-{os.environ['RANK']}.json").write_text(json.dumps(rows))
    if os.environ["RANK"] == "0":
        (out / "metrics.json").write_text(json.dumps(metrics))


def mask_rows():
    """Return the list into which the rows of each training step will be put."""
    rows, layers = [], BaseMaskRCNNHead.forward

    def forward(self, features, instances):
        if self.training:
            rows.append(len(features))
        return layers(self, features, instances)

    BaseMaskRCNNHead.forward = forward
    return rows


def start_rank(spec, run, rank, port):
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_PORT": str(port)}
        os.environ |= {"WORLD_SIZE": str(run["ranks"]), "MASTER_ADDR": "127.0.0.1"}
        train(spec, run)
        code = 0
    except SystemExit as end:
        code = end.code
    except Exception:  # a forked rank must not go on as the test; its exit code 1 tells
        traceback.print_exc()
    finally:
        os._exit(code)


def start(spec, run):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return [start_rank(spec, run, rank, port) for rank in range(run["ranks"])]


def wait(ranks):
    return [os.waitstatus_to_exitcode(os.waitpid(rank, 0)[1]) for rank in ranks]


def wait_for_lines(path, number):
    end = time.monotonic() + 60
    while not path.exists() or path.read_text().count("\n") < number:
        assert time.monotonic() < end
        time.sleep(0.01)


def newest(run):
    names = [path.name for path in Path(run["out"]).glob("checkpoints/step-*.pt")]
    return int(max(names).split("-")[1]) if names else 0


def go(spec, run):
    Path(run["out"]).mkdir(exist_ok=True)
    write_compute(Path(run["out"]), Compute(**run["compute"]))
    codes, found = [], []
    for number, when in run["ends"]:
        found.append(newest(run))
        ranks = start(spec, run)
        wait_for_lines(Path(run["out"]) / "metrics.jsonl", when)
        for rank in ranks[:1] if number == signal.SIGTERM else ranks:
            os.kill(rank, number)
        codes.append(wait(ranks))
    found.append(newest(run))
    codes.append(wait(start(spec, run)))
    (Path(run["out"]) / "found.json").write_text(json.dumps(found))
    (Path(run["out"]) / "codes.json").write_text(json.dumps(codes))


if __name__ == "__main__":
    pace.LOG_EVERY_S = pace.SAVE_EVERY_S = -1.0
    pace.SAVE_SHARE = float("inf")
    torch.set_num_threads(1)
    spec = json.loads(Path(sys.argv[1]).read_text())
    for run in spec["runs"]:
        go(spec, run)
