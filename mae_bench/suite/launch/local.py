"""Jobs as processes on this machine, as many at once as it has GPUs or cores for.

Several runs may share a store, here or on other machines: each job's attempts say who has it.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from mae_bench.core.job import Job
from mae_bench.core.turns import BUSY, Taken, Turn
from mae_bench.kit.pace import REQUEUE
from mae_bench.suite.attempts import begin_after, disown, holder, in_vain, last_number, last_over
from mae_bench.suite.cost.left import expected_seconds, job_left
from mae_bench.suite.cost.schedule import chain_seconds, suite_left
from mae_bench.suite.display import Display
from mae_bench.suite.launch.devices import Devices, compute_of, devices_here
from mae_bench.suite.launch.processes import Process, Share, end_all, start
from mae_bench.suite.preflight import Ground
from mae_bench.suite.store import CANCELLED, JOB, LOG
from mae_bench.suite.verdict import FAILED, failed_after, give_up, leave_crash

POLL_S = 0.2
LOOK_S = 5.0
"""Seconds between two looks at a job that a process of another machine runs."""


@dataclass
class Elsewhere:
    """A job that another process runs."""

    job: Job
    owner: str
    since: float
    """By this process's monotonic clock."""
    look_at: float
    """When to look at it again."""


@dataclass
class Launch:
    """The state of one run on this machine."""

    ground: Ground
    display: Display
    parallel: int
    devices: Devices = field(default_factory=devices_here)
    waiting: dict[str, Job] = field(default_factory=dict)
    running: dict[str, Process] = field(default_factory=dict)
    elsewhere: dict[str, Elsewhere] = field(default_factory=dict)
    """Jobs among the waiting ones that another process runs."""
    failed: dict[str, str] = field(default_factory=dict)
    """Job key -> why it has no result: failed or blocked."""
    before: dict[str, int] = field(default_factory=dict)
    """Job key -> attempts that were over before this run: their failures are not this run's."""
    prepared: set[str] = field(default_factory=set)
    """Keys of the jobs that this run has started before."""


def launch(ground: Ground, display: Display, parallel: int) -> dict[str, str]:
    """Run what is not done, sources first; return why each job without a result has none.

    A job that another process runs is waited for, and counts as it ends there. On any exception,
    KeyboardInterrupt too, every child is told to save and end, and the exception goes on.
    """
    state = Launch(ground, display, parallel)
    for job in ground.plan.jobs:
        if ground.store.result(job) is None:
            state.waiting[job.key] = job
            with _failing(state, job):
                state.before[job.key] = last_over(ground.store.dir(job))
                (ground.store.dir(job) / CANCELLED).unlink(missing_ok=True)  # asked for anew
    devices = {job.key: compute_of(job, ground).gpus for job in ground.plan.jobs}
    expected = expected_seconds(ground.plan, ground.store, devices)
    chain = chain_seconds(ground.plan, expected)
    try:
        while state.waiting or state.running:
            _reap(state)
            _block(state)
            _start(state, chain)
            _show(state, expected, chain)
            if state.waiting or state.running:
                time.sleep(POLL_S)
    except BaseException:
        end_all(list(state.running.values()), display)
        raise
    return state.failed


@contextmanager
def _failing(state: Launch, job: Job) -> Iterator[None]:
    """Let the job alone fail if its folder cannot be read or written."""
    try:
        yield
    except BrokenPipeError:  # what the run prints is read no more
        raise
    except (OSError, ValueError) as error:
        _fail(state, job, f"{type(error).__name__}: {error}")


def _reap(state: Launch) -> None:
    """Take note of the processes that ended."""
    for key, process in list(state.running.items()):
        code = process.popen.poll()
        if code is not None:
            del state.running[key]
            state.devices.give_back(key)
            with _failing(state, process.job):
                disown(process.turn, code)
                _judge(state, process.job, code)


def _judge(state: Launch, job: Job, code: int) -> None:
    """Take note of how a job stands whose process ended with that code."""
    found = state.ground.store.state(job)
    if found.name == "done":
        state.display.finished(job, state.ground.store)
    elif found.name == "cancelled":
        _rest(state, job, found.reason)
    elif found.name == "running":  # another process took over
        state.waiting[job.key] = job
    elif found.name != "failed" and (code < 0 or code in (REQUEUE, BUSY)):
        state.waiting[job.key] = job  # it is started again until it has tried in vain
    else:
        _fail(state, job, found.reason or leave_crash(state.ground.store.dir(job), code))


def _fail(state: Launch, job: Job, reason: str) -> None:
    """Take note of a job that failed, in this run or in another meanwhile."""
    state.waiting.pop(job.key, None)
    state.failed[job.key] = f"failed: {reason}"
    state.display.failed(job, reason, state.ground.store.dir(job) / LOG)


def _rest(state: Launch, job: Job, reason: str) -> None:
    """Take note that a person cancelled the job while this run was at work."""
    state.waiting.pop(job.key, None)
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
    """Start jobs whose sources are done, those with the longest line behind them first.

    One that needs fewer GPUs than are left passes one that needs more.
    """
    now = time.monotonic()
    for job in sorted(state.waiting.values(), key=lambda job: -chain[job.key]):
        if job.key in state.elsewhere and state.elsewhere[job.key].look_at > now:
            continue
        source = state.ground.plan.source_of(job)
        if source is None or state.ground.store.result(source) is not None:
            with _failing(state, job):
                _look_at(state, job)


def _look_at(state: Launch, job: Job) -> None:
    """Start a waiting job if nothing is in its way, or take note of what is."""
    store = state.ground.store
    number = last_number(store.dir(job))  # before the state: a newer attempt is then noticed
    found = store.state(job)
    if found.name != "running":
        state.elsewhere.pop(job.key, None)
    if found.name == "done":  # by another run in the same store
        del state.waiting[job.key]
        state.display.finished(job, store)
    elif found.name == "running":
        _wait_for(state, job)
    elif found.name == "cancelled":
        _rest(state, job, found.reason)
    elif found.name == "failed" and failed_after(store.dir(job), state.before[job.key]):
        _fail(state, job, found.reason)
    elif len(state.running) < state.parallel:
        _take(state, job, number)


def _wait_for(state: Launch, job: Job) -> None:
    """Say once who runs the job, and look at it again later."""
    owner, now = holder(state.ground.store.dir(job)), time.monotonic()
    if owner is None:  # it has ended just now
        return
    look_at = now if owner.here else now + LOOK_S
    known = state.elsewhere.get(job.key)
    if known is None or known.owner != str(owner):
        state.elsewhere[job.key] = Elsewhere(job, str(owner), now - owner.seconds, look_at)
        state.display.waiting(job, f"run by {owner}")
    else:
        known.look_at = look_at


def _take(state: Launch, job: Job, number: int) -> None:
    """Start the job if its GPUs are free and no other process is quicker to take the attempt."""
    if not state.devices.room_for(compute_of(job, state.ground).gpus):
        return
    try:
        turn = begin_after(state.ground.store.dir(job), number)
    except Taken:
        return
    try:
        _begin(state, job, turn, number)
    finally:
        if job.key not in state.running:
            state.devices.give_back(job.key)
            with suppress(OSError):
                disown(turn, FAILED)


def _begin(state: Launch, job: Job, turn: Turn, number: int) -> None:
    """Prepare the job's folder and start its process, unless its attempts were in vain."""
    compute, folder = compute_of(job, state.ground), state.ground.store.dir(job)
    if job.key not in state.prepared or not (folder / JOB).exists():  # gc may have taken it
        state.ground.store.prepare(job, state.ground.data(job), compute, before=number)
        state.prepared.add(job.key)
        state.before[job.key] = number
    if in_vain(folder, state.before[job.key]):
        give_up(folder, turn)
        _fail(state, job, state.ground.store.state(job).reason)
        return
    python = state.ground.site.interpreter(job.recipe.resources.framework)
    state.running[job.key] = start(job, turn, python, _share(state, job, compute.gpus))
    del state.waiting[job.key]
    state.display.started(job)


def _share(state: Launch, job: Job, gpus: int) -> Share:
    """Return what of this machine the job may use, its GPUs taken for it."""
    names = state.devices.names
    part = gpus / len(names) if names else 1 / state.parallel
    threads = max(1, int(len(os.sched_getaffinity(0)) * min(1.0, part)))
    return Share(threads, state.devices.take(job.key, gpus))


def _show(state: Launch, expected: dict[str, float], chain: dict[str, float]) -> None:
    """Tell the display what runs, here and elsewhere, and how long it will take."""
    now, store = time.monotonic(), state.ground.store
    started = {key: (one.job, one.started) for key, one in state.running.items()}
    others = {key: (one.job, one.since) for key, one in state.elsewhere.items()}
    left = {
        key: job_left(store, job, expected[key], now - since)
        for key, (job, since) in (started | others).items()
    }
    waiting = {key: expected[key] for key in state.waiting if key not in others}
    wide = state.ground.site.compute.gpus if state.devices.names else 1
    total = suite_left(waiting, left, chain, max(1, state.parallel // wide))
    jobs = {**started, **others}
    state.display.tick([(jobs[key][0], left[key]) for key in left], store, total)
