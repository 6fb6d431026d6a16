"""One job on several ranks: started here with --gpus N, or by a torchrun of the user's."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mae_bench.cli import FAILED, OK
from mae_bench.commands.run import prepared
from mae_bench.core.compute import Compute
from mae_bench.core.job import Job
from mae_bench.core.recipe import Recipe
from mae_bench.core.turns import BUSY
from mae_bench.kit.pace import DEAD_AFTER_S
from mae_bench.kit.split import share_of, split_batch
from mae_bench.suite.attempts import holder
from mae_bench.suite.cost.left import job_left
from mae_bench.suite.display import Lines
from mae_bench.suite.preflight import Ground
from mae_bench.suite.store import JOB, forgive
from mae_bench.suite.wording import job_name, result_text

POLL_S = 0.5


def in_ranks() -> bool:
    """Return whether torchrun started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def check_compute(recipe: Recipe, compute: Compute) -> None:
    """Raise ValueError for a setting that the recipe cannot follow, before any job is made.

    Such as a batch that cannot be divided as asked: the error names the possible numbers.
    """
    if recipe.resources.framework != "torch" and compute.compile == "on":
        raise ValueError(f"{recipe.name} runs in a toolbox, uncompiled; leave out --compile on")
    if recipe.resources.framework != "torch" and compute.shard == "fsdp":
        raise ValueError(
            f"{recipe.name} has a whole model on each GPU; leave out --shard fsdp, and use "
            "--recompute or a smaller --micro-batch if memory is short"
        )
    batch_size = getattr(recipe, "batch_size", None)
    if batch_size is not None:
        world = int(os.environ.get("WORLD_SIZE", compute.gpus))
        share, micro = share_of(batch_size, world), compute.micro_batch
        split_batch(batch_size, 0, world, share if micro == "auto" else micro)


def run_in_ranks(ground: Ground, job: Job) -> int:
    """Run the job as one rank of a torchrun; the first one prepares it and says what came out."""
    from mae_bench.suite.execute import execute

    store, first = ground.store, os.environ["RANK"] == "0"
    if store.result(job) is None:
        if first:
            owner = holder(store.dir(job))
            if owner is not None:
                print(f"mae-bench: {job_name(job)} is run by {owner}", file=sys.stderr)
                return BUSY
            code = prepared(ground)
            if code != OK:
                return code
            forgive(store.dir(job))
            store.prepare(job, ground.data(job), ground.site.compute)
        else:
            _wait_for(ground, job)
        with _progress(ground, job, first):
            code = execute(store.dir(job))
        if code != OK:
            return code
    if first:
        result = store.result(job)
        if result is None:
            return FAILED
        print(f"{job.recipe.name}: {result_text(job, result)}\nfiles: {store.dir(job)}")
    return OK


def _wait_for(ground: Ground, job: Job) -> None:
    """Return when the first rank has prepared the job's folder; ValueError after an hour.

    It looks through the data before, which may take long.
    """
    path = ground.store.dir(job) / JOB
    deadline = time.monotonic() + DEAD_AFTER_S
    while not path.exists():
        if time.monotonic() > deadline:
            raise ValueError(
                f"the first rank made no {path} in {DEAD_AFTER_S:.0f} s; the store must lie on a "
                "file system that all nodes see"
            )
        time.sleep(POLL_S)


@contextmanager
def _progress(ground: Ground, job: Job, first: bool) -> Iterator[None]:
    """Print a line of progress now and then on the first rank."""
    done = threading.Event()

    def tell() -> None:
        lines = Lines(1, 0, lambda line: print(line, flush=True))
        started, expected = time.monotonic(), job.recipe.resources.hours * 3600
        while not done.wait(POLL_S):
            left = job_left(ground.store, job, expected, time.monotonic() - started)
            lines.tick([(job, left)], ground.store, left)

    thread = threading.Thread(target=tell, daemon=True)
    if first:
        thread.start()
    yield
    done.set()
