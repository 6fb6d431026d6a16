"""Runs one pretraining recipe on this rank, logging and saving after every step.

python drive.py OUT DATA FIELDS [KILLS]: with KILLS > 0 it starts the run in a child, kills it after
a random time, and goes on until the run ends and at least that many were killed.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from mae_bench.core.recipe import Context
from mae_bench.core.registry import load
from mae_bench.kit import pace
from mae_bench.kit.parting import part


def train(out, data, fields):
    recipe = load(fields.pop("recipe", "mae"))(**fields)
    recipe.run(Context(out, 0, data, None))
    part()


def killed_often(out, data, fields, kills):
    rng = random.Random(0)
    done = 0
    while True:
        child = os.fork()
        if child == 0:
            os.setsid()
            train(out, data, fields)
            os._exit(0)
        end = time.monotonic() + rng.uniform(0.05, 0.6)
        while time.monotonic() < end or done >= kills:
            finished, status = os.waitpid(child, os.WNOHANG)
            if finished:
                assert status == 0, status
                assert done >= kills, f"the run ended after {done} kills"
                print(done)
                return
            time.sleep(0.005)
        os.killpg(child, signal.SIGKILL)  # the worker processes too
        os.waitpid(child, 0)
        done += 1


if __name__ == "__main__":
    pace.LOG_EVERY_S = pace.SAVE_EVERY_S = -1.0
    pace.SAVE_SHARE = float("inf")
    torch.set_num_threads(1)
    out, data, fields, kills = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4:]
    if kills:
        killed_often(out, data, json.loads(fields), int(kills[0]))
    else:
        train(out, data, json.loads(fields))
