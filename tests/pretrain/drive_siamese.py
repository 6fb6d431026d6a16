"""Runs all siamese objectives in every way that must not change them; only one start of Python.

python drive_siamese.py ROOT DATA FIELDS: FIELDS is {objective: fields}; a run of an objective ends
in ROOT/WAY/OBJECTIVE. Ranks are forked, with the environment that torchrun gives them.
"""

import json
import os
import random
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

import torch
import torch._dynamo  # here, before any fork, since checkpointing imports it

import pretrain.training  # noqa: F401 - the same
from mae_bench.core.compute import Compute, write_compute
from mae_bench.core.recipe import Context
from mae_bench.core.registry import load
from mae_bench.kit import pace
from mae_bench.kit.parting import part
from pretrain.siamese_model import Siamese

WAYS = {
    "one": Compute(workers=0),
    "chunks": Compute(workers=0, micro_batch=2),
    "two": Compute(workers=0, gpus=2, micro_batch=2),
    "fsdp": Compute(workers=0, gpus=2, micro_batch=2, shard="fsdp"),
    "stopped": Compute(workers=0, gpus=2, micro_batch=2),
    "killed": Compute(workers=0),
}
KILLS = 2
STOP_AFTER = 2
STOPPED = ("moco_v3", "moco_v2")
"""Between them: BatchNorm, a predictor, a following network, a queue, AdamW and SGD."""


def train(root, data, way, fields):
    """Train each objective in one way, in this process."""
    pace.SAVE_EVERY_S = -1.0 if way == "killed" else 60.0
    for name, chosen in fields.items():
        out = root / way / name
        out.mkdir(parents=True, exist_ok=True)
        write_compute(out, WAYS[way])
        load(name)(**chosen).run(Context(out, 0, data, None))
    part()


def forked(job, *words, rank=0, world=1, port=0):
    """Start the job in a process of its own, as this rank; return the process id."""
    child = os.fork()
    if child:
        return child
    os.setsid()
    code = 1
    try:
        if world > 1:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        job(*words)
        code = 0
    except SystemExit as end:
        code = end.code
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(code)


def in_ranks(world, job, *words):
    """Return the exit codes of the job's ranks."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    children = [forked(job, *words, rank=rank, world=world, port=port) for rank in range(world)]
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def interrupted(root, data, fields):
    """Train, but with Ctrl-C to the second rank in the midst of a step."""
    after_step = Siamese.after_step

    def interrupting(self, progress):
        after_step(self, progress)
        self.taken = getattr(self, "taken", 0) + 1
        if self.taken == STOP_AFTER and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGINT)

    Siamese.after_step = interrupting
    train(root, data, "stopped", fields)


def killed_often(root, data, name, chosen):
    """Train one objective, killed at random moments after new checkpoints, then to the end."""
    rng = random.Random(0)
    folder = root / "killed" / name / "checkpoints"
    for kill in range(KILLS):
        before = {*folder.glob("step-*.pt")}
        child = forked(train, root, data, "killed", {name: chosen})
        while {*folder.glob("step-*.pt")} <= before:
            time.sleep(0.002)
        time.sleep(rng.uniform(0.0, 0.1))
        os.killpg(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert kill or code == -signal.SIGKILL, code
    assert in_ranks(1, train, root, data, "killed", {name: chosen}) == [0], name


def main(root, data, fields):
    for way in ("one", "chunks"):
        assert in_ranks(1, train, root, data, way, fields) == [0], way
    for way in ("two", "fsdp"):
        assert in_ranks(2, train, root, data, way, fields) == [0, 0], way
    for name, chosen in fields.items():
        killed_often(root, data, name, chosen)
    for name in STOPPED:
        assert in_ranks(2, interrupted, root, data, {name: fields[name]}) == [75, 75], name
    stopped = {name: fields[name] for name in STOPPED}
    assert in_ranks(2, train, root, data, "stopped", stopped) == [0, 0]


if __name__ == "__main__":
    pace.LOG_EVERY_S = -1.0
    pace.SAVE_SHARE = float("inf")
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
