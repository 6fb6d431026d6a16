"""Follows a suite through SLURM's queue to its results; nothing ends when this does.

The files of the jobs say what is done and what failed. The queue is a hint: what it does not say
is unknown, not lost.
"""

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from mae_bench.core.job import Job
from mae_bench.core.turns import Taken
from mae_bench.suite.attempts import last_number
from mae_bench.suite.cost import chain_seconds, expected_seconds, job_left, suite_left
from mae_bench.suite.launch.queue import Unanswered
from mae_bench.suite.launch.slurm.ends import NOT_ITS_FAULT, End, end_of
from mae_bench.suite.launch.slurm.graph import Graph, adopt, graph_of, submit_missing
from mae_bench.suite.launch.slurm.queue import Seen, active_by_key, look, store_id
from mae_bench.suite.preflight import Ground
from mae_bench.suite.status import Display, job_name
from mae_bench.suite.store import FAILURE, LOG

TICK_S = 1.0
"""Seconds between two looks at the files."""
MOST_AGAIN = 20
"""Times that one run submits a job again which left the queue without a word of its own."""


@dataclass
class Run:
    """What a run that follows its jobs knows."""

    graph: Graph
    display: Display
    old_failures: dict[str, int]
    """Failures from before this run: key -> when the file was written."""
    running: dict[str, float] = field(default_factory=dict)
    """Key -> when this run saw it start."""
    gone: dict[str, float] = field(default_factory=dict)
    """Key -> when this run missed it in the queue."""
    tried: dict[str, int] = field(default_factory=dict)
    """Key -> attempts at the time of its submission."""
    again: Counter[str] = field(default_factory=Counter)
    told: set[str] = field(default_factory=set)
    looked: float = float("-inf")

    @property
    def ground(self) -> Ground:
        """The suite on this machine."""
        return self.graph.ground


def launch(ground: Ground, display: Display, parallel: int) -> dict[str, str]:
    """Submit what is missing and follow it; return why each job without a result has none.

    `parallel` has no meaning here: the scheduler decides. On KeyboardInterrupt the jobs stay.
    """
    run = run_of(ground, display)
    expected = expected_seconds(ground.plan, ground.store)
    chain = chain_seconds(ground.plan, expected)
    while run.graph.open:
        step(run)
        _show(run, expected, chain)
        if run.graph.open:
            time.sleep(TICK_S)
    return run.graph.failed


def run_of(ground: Ground, display: Display) -> Run:
    """Return a run that has not yet looked."""
    graph = graph_of(ground)
    old = {key: _written(ground.store.dir(job) / FAILURE) for key, job in graph.open.items()}
    return Run(graph, display, old)


def step(run: Run) -> None:
    """Look at the files, and when it is time at the queue; submit what is missing."""
    ended = _read_files(run)
    _block(run)
    every = run.ground.site.slurm.common.poll_s
    now = time.monotonic()
    if now - run.looked < every and not (ended and run.graph.without_room):
        return
    try:
        jobs = _queue(run)
        _read_queue(run, jobs)
        _read_files(run)
        _block(run)
        _submit(run)
        run.told.discard("silent")
    except Unanswered as error:
        _once(run, "silent", f"{error}; looking again every {every} s, jobs go on meanwhile")
    run.looked = time.monotonic()


def _read_files(run: Run) -> bool:
    """Take note of jobs that are done or failed by their files; return whether there were any."""
    graph, store = run.graph, run.ground.store
    before = len(graph.open)
    for key, job in list(graph.open.items()):
        state = store.state(job)
        if state.name == "done":
            _close(run, job)
            run.display.finished(job, store)
        elif state.name == "failed" and _is_new(run, job):
            _fail(run, job, state.reason)
        elif key in graph.failed:
            _fail(run, job, graph.failed[key].removeprefix("failed: "))
    if graph.check is not None and graph.check.passed:
        _once(run, "worker", f"a worker was looked at: as this machine; {_worker(graph)}")
        graph.ids.pop(graph.check.key, None)
        graph.check = None
    return len(graph.open) < before


def _worker(graph: Graph) -> str:
    """Return what the worker is."""
    found = None if graph.check is None else graph.check.found
    return "" if found is None else ", ".join(filter(None, [found["host"], found["gpus"]]))


def _is_new(run: Run, job: Job) -> bool:
    """Return whether the job failed in this run's time, or after this run submitted it."""
    old = run.old_failures.get(job.key)
    return not old or _written(run.ground.store.dir(job) / FAILURE) != old


def _queue(run: Run) -> list[Seen]:
    """Return what the queue shows of the store's jobs."""
    store = store_id(run.ground.store.root)
    return [] if store is None else look(store)


def _read_queue(run: Run, jobs: list[Seen]) -> None:
    """Take note of what runs, and of what left the queue; parents come first."""
    graph = run.graph
    active = active_by_key(jobs)
    adopt(graph, active)
    for job in run.ground.plan.jobs:
        if job.key in active and job.key in graph.open:
            run.gone.pop(job.key, None)
            _follow_one(run, job, active[job.key])
        elif job.key in graph.open and job.key in graph.ids:
            _miss(run, job, jobs)
    check = graph.check
    if check is not None and check.key in graph.ids and check.key not in active:
        _miss_check(run, jobs)


def _follow_one(run: Run, job: Job, seen: Seen) -> None:
    """Tell of a start, and of a job that waits for another one."""
    run.tried.setdefault(job.key, last_number(run.ground.store.dir(job)))
    if seen.state == "RUNNING" and job.key not in run.running:
        run.running[job.key] = time.monotonic()
        run.display.started(job)
    elif seen.waits and job.key in run.running:
        del run.running[job.key]
        run.display.note(f"retrying  {job_name(job)}: waits for its next start ({seen.reason})")


def _miss(run: Run, job: Job, jobs: list[Seen]) -> None:
    """Decide about a job that left the queue without a result, when its files had their time."""
    settled = run.gone.setdefault(job.key, time.monotonic()) + _settle(run)
    if time.monotonic() < settled:
        return
    graph, store = run.graph, run.ground.store
    end = end_of(graph.ids[job.key], jobs)
    source = run.ground.plan.source_of(job)
    waits = source is not None and source.key in graph.open
    if store.state(job).name == "running" or end.without_parent or (end.cancelled and waits):
        _leave(run, job)  # it is at work elsewhere, or comes again behind its parent
    elif end.cancelled:
        _fail(run, job, f"{end}; `mae-bench run` again submits it again")
    elif _worth_it(run, job, end):
        run.again[job.key] += 1
        _leave(run, job)
        run.display.note(f"again     {job_name(job)}: {end}; submitted again")
    else:
        _fail(run, job, f"{end}; log.txt may say more")


def _worth_it(run: Run, job: Job, end: End) -> bool:
    """Return whether to submit a job again: it made an attempt, or it was not its fault.

    Attempts that save nothing new end by themselves, with a failure.
    """
    if run.again[job.key] >= MOST_AGAIN:
        return False
    before = run.tried.get(job.key, 0)
    return end.state in NOT_ITS_FAULT or last_number(run.ground.store.dir(job)) > before


def _miss_check(run: Run, jobs: list[Seen]) -> None:
    """Block all jobs if the look at a worker ended without finding all as it should be."""
    check = run.graph.check
    assert check is not None
    settled = run.gone.setdefault(check.key, time.monotonic()) + _settle(run)
    problems = check.problems
    if not problems and time.monotonic() < settled:
        return
    end = end_of(run.graph.ids.pop(check.key), jobs)
    why = "; ".join(problems) or f"{end}; see {check.folder / LOG}"
    for job in run.ground.plan.jobs:
        if job.key in run.graph.open and job.key not in run.running:
            _blocked(run, job, f"a worker is not as it should be: {why}")


def _block(run: Run) -> None:
    """Close the jobs that cannot run: by their ground, or since the one they need failed."""
    for job in run.ground.plan.jobs:
        if job.key not in run.graph.open:
            continue
        source = run.ground.plan.source_of(job)
        reason = run.ground.blocked.get(job.key)
        if source is not None and source.key in run.graph.failed:
            reason = f"{source.recipe.name} of {source.row} (seed {source.seed}) has no result"
        if reason is not None:
            _blocked(run, job, reason)


def _submit(run: Run) -> None:
    """Submit what is missing, or say who does."""
    graph = run.graph
    try:
        sent = submit_missing(graph)
    except Taken as taken:
        _once(run, str(taken), f"waiting   for another run that submits jobs now: {taken}")
        return
    for job in sent:
        run.tried[job.key] = last_number(run.ground.store.dir(job))
    if sent:
        run.display.note(f"submitted {len(sent)} jobs to SLURM, {len(graph.ids)} in its queue")
    if graph.without_room:
        text = f"{graph.without_room} jobs wait for room in the queue"
        _once(run, text, f"waiting   {text}: they are submitted as others end")
    for job in run.ground.plan.jobs:
        if job.key in graph.open and job.key not in graph.ids:
            state = run.ground.store.state(job)
            if state.name == "running":
                _once(run, job.key, f"waiting   {job_name(job)}: run by {state.reason}")


def _leave(run: Run, job: Job) -> None:
    """Forget a job's place in the queue, so that it gets a new one."""
    run.graph.ids.pop(job.key, None)
    run.gone.pop(job.key, None)
    run.running.pop(job.key, None)


def _close(run: Run, job: Job) -> None:
    """Have done with a job."""
    _leave(run, job)
    del run.graph.open[job.key]


def _fail(run: Run, job: Job, reason: str) -> None:
    """Close a job that has no result."""
    _close(run, job)
    run.graph.failed[job.key] = f"failed: {reason}"
    run.display.failed(job, reason, run.ground.store.dir(job) / LOG)


def _blocked(run: Run, job: Job, reason: str) -> None:
    """Close a job that cannot run."""
    _close(run, job)
    run.graph.failed[job.key] = f"blocked: {reason}"
    run.display.blocked(job, reason)


def _once(run: Run, what: str, line: str) -> None:
    """Tell something the first time that it is so."""
    if what not in run.told:
        run.told.add(what)
        run.display.note(line)


def _settle(run: Run) -> float:
    """Return the seconds that files may be late."""
    return run.ground.site.slurm.common.settle_s


def _show(run: Run, expected: dict[str, float], chain: dict[str, float]) -> None:
    """Tell the display what runs and how long it will take."""
    now, store = time.monotonic(), run.ground.store
    left = {
        key: job_left(store, run.graph.open[key], expected[key], now - since)
        for key, since in run.running.items()
    }
    waiting = {key: expected[key] for key in run.graph.open if key not in left}
    total = suite_left(waiting, left, chain, max(1, len(left)))
    run.display.tick([(run.graph.open[key], left[key]) for key in left], store, total)


def _written(path: Path) -> int:
    """Return when the file was written, 0 if there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
