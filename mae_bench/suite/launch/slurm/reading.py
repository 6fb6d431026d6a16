"""Reads off files and queue how the jobs of a run stand.

The files say what is done and what failed. The queue is a hint: a job that it does not show is
first given time, and then judged by its attempts and by what SLURM says of its end.
"""

import time
from collections.abc import Sequence

from mae_bench.core.job import Job
from mae_bench.suite.attempts import MOST_IN_VAIN, holder, last_number
from mae_bench.suite.launch.slurm.ends import End, end_of, with_last_words
from mae_bench.suite.launch.slurm.graph import adopt
from mae_bench.suite.launch.slurm.queue import Seen, active_by_key
from mae_bench.suite.launch.slurm.run import Run
from mae_bench.suite.store import LOG
from mae_bench.suite.wording import job_name

MOST_AGAIN = 20
"""Times that one run submits a job again which left the queue without a word of its own."""


def read_files(run: Run) -> bool:
    """Take note of jobs that are done, failed or blocked by their files; return whether any is."""
    graph, before = run.graph, len(run.graph.open)
    for job in run.open_jobs():
        state = run.ground.store.state(job)
        if state.name == "done":
            run.finish(job)
        elif state.name == "cancelled":
            run.give_up(job, state.reason)
        elif state.name == "failed" and run.failed_now(job):
            run.fail(job, state.reason)
        elif job.key in graph.failed:
            run.fail(job, graph.failed[job.key].removeprefix("failed: "))
    _block(run)
    check = graph.check
    if check is not None and check.passed:
        run.once("worker", f"looked at a worker: {check.place}, all as on this machine")
        if check.advice:
            run.once("advice", f"warning   {check.advice}")
        graph.ids.pop(check.key, None)
        graph.check = None
    return len(graph.open) < before


def read_queue(run: Run, jobs: Sequence[Seen]) -> None:
    """Take note of what runs, and judge what left the queue without a result."""
    graph, active = run.graph, active_by_key(jobs)
    adopt(graph, active)
    for job in run.open_jobs():
        if job.key in active:
            run.gone.pop(job.key, None)
            _follow(run, job, active[job.key])
        elif job.key in graph.ids and run.settled(job.key):
            _judge(run, job, end_of(graph.ids[job.key], jobs))
    check = graph.check
    if check is not None and check.key in graph.ids and check.key not in active:
        _judge_check(run, jobs)


def _block(run: Run) -> None:
    """Close the jobs that cannot run: by their ground, or since the one they need failed."""
    for job in run.open_jobs():
        source = run.ground.plan.source_of(job)
        reason = run.ground.blocked.get(job.key)
        if source is not None and source.key in run.graph.failed:
            reason = f"{job_name(source)} has no result"
        if reason is not None:
            run.block(job, reason)


def _follow(run: Run, job: Job, seen: Seen) -> None:
    """Tell of a start, and of a job that waits for another one."""
    run.tried.setdefault(job.key, last_number(run.ground.store.dir(job)))
    if seen.state == "RUNNING" and job.key not in run.running:
        run.running[job.key] = time.monotonic()
        run.display.started(job)
    elif seen.waits and job.key in run.running:
        del run.running[job.key]
        why = seen.reason or "stopped before its end"
        run.display.note(f"retrying  {job_name(job)}: waits for its next start ({why})")
    if "held" in seen.reason.lower():
        how = f"`scontrol release {seen.id}` lets it start"
        run.once(f"held {seen.id}", f"held      {job_name(job)}: {seen.reason}; {how}")


def _judge(run: Run, job: Job, end: End) -> None:
    """Decide about a job that left the queue without a result."""
    source = run.ground.plan.source_of(job)
    waits = source is not None and source.key in run.graph.open
    if _at_work_elsewhere(run, job) or end.without_parent or (waits and not end.of_its_own):
        run.leave(job)  # to be submitted again when the other process, or its parent, is done
    elif end.cancelled:
        run.give_up(job, f"{end}; `mae-bench run` submits it again when it is typed again")
    elif _worth_it(run, job, end):
        run.again[job.key] += 1
        run.leave(job)
        run.display.note(f"again     {job_name(job)}: {end}")
    else:
        run.fail(job, with_last_words(end, run.ground.store.dir(job)))


def _at_work_elsewhere(run: Run, job: Job) -> bool:
    """Return whether a process that this place in the queue did not start has the job now."""
    owner = holder(run.ground.store.dir(job))
    ours = f"slurm/{run.graph.ids[job.key]}/"
    return owner is not None and not owner.started_by.startswith(ours)


def _worth_it(run: Run, job: Job, end: End) -> bool:
    """Return whether to submit a job again: it made an attempt, or its end was not its own.

    Attempts that save nothing new end by themselves, with a failure.
    """
    before = run.tried.get(job.key, 0)
    if last_number(run.ground.store.dir(job)) > before:
        return run.again[job.key] < MOST_AGAIN
    return not end.of_its_own and run.again[job.key] < MOST_IN_VAIN


def _judge_check(run: Run, jobs: Sequence[Seen]) -> None:
    """Block all jobs if the look at a worker ended without finding all as it should be."""
    check = run.graph.check
    assert check is not None
    problems = check.problems
    if not problems and not run.settled(check.key):
        return
    end = end_of(run.graph.ids.pop(check.key), jobs)
    why = "; ".join(problems) or with_last_words(end, check.folder)
    if (check.folder / LOG).exists():
        why += f"; see {check.folder / LOG}"
    for job in run.open_jobs():
        if job.key not in run.running:
            run.block(job, f"a worker is not as it should be: {why}")
