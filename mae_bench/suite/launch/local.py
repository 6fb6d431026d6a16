"""Jobs as processes on this machine, as many at once as it has GPUs or cores for."""

import os
import signal
import subprocess
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from mae_bench.core.compute import Compute
from mae_bench.core.job import Job
from mae_bench.core.turns import BUSY
from mae_bench.suite.attempts import last_number
from mae_bench.suite.cost.left import expected_seconds, job_left
from mae_bench.suite.cost.schedule import chain_seconds, suite_left
from mae_bench.suite.display import Display
from mae_bench.suite.execute import DIES_WITH_PARENT, REQUEUE
from mae_bench.suite.preflight import Ground
from mae_bench.suite.store import CANCELLED, LOG

POLL_S = 0.2
GRACE_S = 60.0
"""Seconds that a job has to save itself when the run is interrupted."""
MAX_ON_CPU = 4


@dataclass
class Process:
    """A running job."""

    job: Job
    popen: "subprocess.Popen[bytes]"
    slot: int
    attempts_before: int
    started: float = field(default_factory=time.monotonic)


@dataclass
class Launch:
    """The state of one run on this machine."""

    ground: Ground
    display: Display
    parallel: int
    waiting: dict[str, Job] = field(default_factory=dict)
    running: dict[str, Process] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    """Job key -> why it has no result: failed or blocked."""
    prepared: set[str] = field(default_factory=set)
    """Keys of the jobs that this run has started before."""


def launch(ground: Ground, display: Display, parallel: int) -> dict[str, str]:
    """Run what is not done, sources first; return why each job without a result has none.

    On KeyboardInterrupt every child is told to save and end, and the exception goes on.
    """
    state = Launch(ground, display, parallel)
    for job in ground.plan.jobs:
        if ground.store.result(job) is None:
            state.waiting[job.key] = job
            (ground.store.dir(job) / CANCELLED).unlink(missing_ok=True)  # it is asked for anew
    expected = expected_seconds(ground.plan, ground.store)
    chain = chain_seconds(ground.plan, expected)
    try:
        while state.waiting or state.running:
            _reap(state)
            _block(state)
            _start(state, chain)
            _show(state, expected, chain)
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        _end_children(state)
        raise
    return state.failed


def compute_of(job: Job, ground: Ground) -> Compute:
    """Return the site's settings; jobs without training take one GPU."""
    compute = ground.site.compute
    return compute if job.recipe.resources.gpus else replace(compute, gpus=1)


def default_parallel(gpus: int = 1) -> int:
    """Return as many jobs as get `gpus` GPUs each, or cores up to four where there is none."""
    devices = num_gpus() or min(MAX_ON_CPU, len(os.sched_getaffinity(0)))
    return max(1, devices // gpus)


def gpus_of(slot: int, gpus: int) -> str:
    """Return CUDA_VISIBLE_DEVICES for the job in that slot, `gpus` devices to a slot."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = list(map(str, range(num_gpus()))) if visible is None else visible.split(",")
    return ",".join(name.strip() for name in names[slot * gpus : (slot + 1) * gpus])


def num_gpus() -> int:
    """Return the number of NVIDIA GPUs that this process may use, without loading torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([one for one in visible.split(",") if one.strip()])
    folder = Path("/proc/driver/nvidia/gpus")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def _reap(state: Launch) -> None:
    """Take note of the processes that ended."""
    for key, process in list(state.running.items()):
        code = process.popen.poll()
        if code is None:
            continue
        del state.running[key]
        job, found = process.job, state.ground.store.state(process.job)
        killed = code < 0 and last_number(state.ground.store.dir(job)) > process.attempts_before
        again = code in (REQUEUE, BUSY) or killed or found.name == "running"
        if found.name == "done":
            state.display.finished(job, state.ground.store)
        elif found.name == "cancelled":
            _give_up(state, job, found.reason)
        elif again and found.name != "failed":  # the job itself says when it tried in vain
            state.waiting[key] = job
        else:
            reason = found.reason or f"ended with exit code {code}, see log.txt"
            state.failed[key] = f"failed: {reason}"
            state.display.failed(job, reason, state.ground.store.dir(job) / LOG)


def _give_up(state: Launch, job: Job, reason: str) -> None:
    """Take note that a person cancelled the job while this run was at work."""
    state.failed[job.key] = f"cancelled: {reason}"
    state.display.cancelled(job, reason)


def _block(state: Launch) -> None:
    """Take out of the queue what cannot run: by its ground, or since its source failed."""
    for key, job in list(state.waiting.items()):
        source = state.ground.plan.source_of(job)
        reason = state.ground.blocked.get(key)
        if source is not None and source.key in state.failed:
            reason = f"{source.recipe.name} of {source.row} (seed {source.seed}) has no result"
        if reason is not None:
            del state.waiting[key]
            state.failed[key] = f"blocked: {reason}"
            state.display.blocked(job, reason)


def _start(state: Launch, chain: dict[str, float]) -> None:
    """Start jobs whose sources are done, those with the longest line behind them first."""
    store = state.ground.store
    for job in sorted(state.waiting.values(), key=lambda job: -chain[job.key]):
        if len(state.running) >= state.parallel:
            return
        source = state.ground.plan.source_of(job)
        if source is not None and store.result(source) is None:
            continue
        now = store.state(job)
        if now.name == "done":  # by another run in the same store
            del state.waiting[job.key]
            state.display.finished(job, store)
        elif now.name == "cancelled":
            del state.waiting[job.key]
            _give_up(state, job, now.reason)
        elif now.name != "running":
            del state.waiting[job.key]
            state.running[job.key] = _process(state, job)
            state.display.started(job)


def _process(state: Launch, job: Job) -> Process:
    """Start the job's process in a session of its own, its output appended to log.txt."""
    taken = {process.slot for process in state.running.values()}
    slot = min(set(range(state.parallel)) - taken)
    compute = compute_of(job, state.ground)
    store = state.ground.store
    folder = store.dir(job)
    if job.key not in state.prepared:
        store.prepare(job, state.ground.data(job), compute)
        state.prepared.add(job.key)
    python = state.ground.site.interpreter(job.recipe.resources.framework)
    threads = max(1, len(os.sched_getaffinity(0)) // state.parallel)
    environment = os.environ | {DIES_WITH_PARENT: str(os.getpid())}
    environment.setdefault("OMP_NUM_THREADS", str(threads))
    if num_gpus():
        environment["CUDA_VISIBLE_DEVICES"] = gpus_of(slot, state.ground.site.compute.gpus)
    before = last_number(folder)
    with (folder / LOG).open("ab") as log:
        popen = subprocess.Popen(
            [python, "-m", "mae_bench.suite.execute", folder],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    return Process(job, popen, slot, before)


def _show(state: Launch, expected: dict[str, float], chain: dict[str, float]) -> None:
    """Tell the display what runs and how long it will take."""
    now, store = time.monotonic(), state.ground.store
    left = {
        key: job_left(store, one.job, expected[key], now - one.started)
        for key, one in state.running.items()
    }
    waiting = {key: expected[key] for key in state.waiting}
    total = suite_left(waiting, left, chain, state.parallel)
    state.display.tick([(state.running[key].job, left[key]) for key in left], store, total)


def _end_children(state: Launch) -> None:
    """Ask every child to save and end, wait, and kill those that do not."""
    for process in state.running.values():
        process.popen.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    for process in state.running.values():
        try:
            process.popen.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.popen.kill()
            process.popen.wait()
