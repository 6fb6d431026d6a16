"""Runs one transfer task on this rank: drive_task.py TASK OUT DATA ENCODER FIELDS [KILLS].

With KILLS > 0 it starts the run in a child, kills it after a random time, and goes on until the run
ends and at least that many were killed. The first rank leaves the metrics in OUT/metrics.json.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

import transfer.lowshot  # noqa: F401 - so that no child has to import torch again
from mae_bench.core.recipe import Context, build
from mae_bench.core.registry import load
from mae_bench.kit import features, pace
from mae_bench.kit.parting import part


def run(task, out, data, encoder, fields):
    recipe = build(load(task), json.loads(fields))
    metrics = recipe.run(Context(out, 0, data, encoder))
    part()
    if metrics:
        (out / "metrics.json").write_text(json.dumps(metrics))


def killed_often(words, kills):
    rng = random.Random(0)
    done = 0
    while True:
        child = os.fork()
        if child == 0:
            os.setsid()
            run(*words)
            os._exit(0)
        end = time.monotonic() + rng.uniform(0.1, 1.5)
        while time.monotonic() < end or done >= kills:
            finished, status = os.waitpid(child, os.WNOHANG)
            if finished:
                assert status == 0, status
                print(done)
                return
            time.sleep(0.005)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        done += 1


def main():
    pace.LOG_EVERY_S = pace.SAVE_EVERY_S = -1.0
    pace.SAVE_SHARE = float("inf")
    features.CHUNK = 8
    torch.set_num_threads(1)
    words = (sys.argv[1], *map(Path, sys.argv[2:5]), sys.argv[5])
    if sys.argv[6:]:
        killed_often(words, int(sys.argv[6]))
    else:
        run(*words)


if __name__ == "__main__":
    main()
