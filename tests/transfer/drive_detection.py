"""Runs detection jobs on one rank or several, some killed on the way: drive_detection.py SPEC.

SPEC is a JSON file: data, encoder, and `runs`, each with out, fields, compute, ranks and `ends`, a
list of [signal number, when]: the run is started again after each. SIGKILL goes to all ranks after
that many seconds, SIGTERM to the first one when that many steps are logged. Everything is imported
once, and each rank is a fork. Metrics go to OUT/metrics.json, exit codes to OUT/codes.json.
"""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import torch

import transfer.detectron2_adapter.vitdet  # noqa: F401 - so that no child has to import it again
from mae_bench.core.compute import Compute, write_compute
from mae_bench.core.recipe import Context, build
from mae_bench.core.registry import load
from mae_bench.kit import pace
from transfer.detectron2_adapter import detect  # noqa: F401


def train(spec, run):
    out = Path(run["out"])
    recipe = build(load("coco_vitdet"), run["fields"])
    metrics = recipe.run(Context(out, 1, Path(spec["data"]), Path(spec["encoder"])))
    if os.environ["RANK"] == "0":
        (out / "metrics.json").write_text(json.dumps(metrics))


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


def go(spec, run):
    Path(run["out"]).mkdir(exist_ok=True)
    write_compute(Path(run["out"]), Compute(**run["compute"]))
    codes = []
    for number, when in run["ends"]:
        ranks = start(spec, run)
        if number == signal.SIGTERM:
            wait_for_lines(Path(run["out"]) / "metrics.jsonl", when)
        else:
            time.sleep(when)
        for rank in ranks[:1] if number == signal.SIGTERM else ranks:
            os.kill(rank, number)
        codes.append(wait(ranks))
    codes.append(wait(start(spec, run)))
    (Path(run["out"]) / "codes.json").write_text(json.dumps(codes))


if __name__ == "__main__":
    pace.LOG_EVERY_S = pace.SAVE_EVERY_S = -1.0
    pace.SAVE_SHARE = float("inf")
    torch.set_num_threads(1)
    spec = json.loads(Path(sys.argv[1]).read_text())
    for run in spec["runs"]:
        go(spec, run)
