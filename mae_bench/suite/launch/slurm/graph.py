"""Submits what is missing of a suite to SLURM, parents first, one submitter at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mae_bench.core.job import Job
from mae_bench.core.owner import this_process
from mae_bench.core.turns import Taken, Turn, beating, newest, take
from mae_bench.suite.launch.slurm.asked import asked_by, compute_by
from mae_bench.suite.launch.slurm.calls import ask
from mae_bench.suite.launch.slurm.check import Check, check_of
from mae_bench.suite.launch.slurm.queue import (
    Seen,
    active_by_key,
    look,
    make_store_id,
    store_id,
    whose,
)
from mae_bench.suite.launch.slurm.script import Asked
from mae_bench.suite.launch.slurm.submission import Full, Rejected, await_lost, submit
from mae_bench.suite.preflight import Ground

SUBMITTING = "submitting"
"""In the store: whose turn it is to submit."""


@dataclass
class Graph:
    """The jobs of a suite that have no result yet, and what this run did about them."""

    ground: Ground
    check: Check | None
    open: dict[str, Job] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    """Key -> id in the queue of what this run submitted or found there."""
    failed: dict[str, str] = field(default_factory=dict)
    """Key -> why it has no result: failed or blocked."""
    prepared: set[str] = field(default_factory=set)
    """Keys whose folders this run made ready; from then on their attempts count."""
    without_room: int = 0
    """Jobs that the cluster's limits, or ours, keep out of the queue for now."""
    full: str = ""
    """Which limit."""


@dataclass(frozen=True)
class Batch:
    """One turn of submitting."""

    graph: Graph
    turn: Turn
    store_id: str
    known: set[str]
    """Ids that SLURM shows of the store's jobs, ended ones too."""
    in_queue: set[str]
    """Those of jobs that have not ended."""


def graph_of(ground: Ground) -> Graph:
    """Return the graph of all jobs without a result."""
    check = check_of(ground)
    graph = Graph(ground, None if check is None or check.passed else check)
    for job in ground.plan.jobs:
        if ground.store.result(job) is None:
            graph.open[job.key] = job
    return graph


@contextmanager
def turn_to_submit(graph: Graph) -> Iterator[Turn]:
    """Have the turn to submit for the time of the block; raise Taken if another process has it.

    One that was killed while it had the turn may have left an sbatch on its way.
    """
    folder = graph.ground.store.root / SUBMITTING
    last = newest(folder)
    if last is not None and last.alive:
        raise Taken(f"{last.owner or 'another process'}")
    turn = take(folder, last.number if last else 0, this_process())
    try:
        with beating(turn):
            if last is not None and last.ended is None:
                await_lost()
            yield turn
    finally:
        turn.end("done")


def submit_missing(graph: Graph) -> list[Job]:
    """Submit every job that is neither done nor in the queue nor at work; return those.

    Raises Taken if another process submits now, Unanswered where SLURM does not answer. Jobs that
    there is no room for are counted in `without_room`; those that it will not take have failed.
    """
    if not _missing(graph):
        graph.without_room = 0
        return []
    with turn_to_submit(graph) as turn:
        root = graph.ground.store.root
        if store_id(root) is None:
            ask(["squeue", "--noheader", "--me"])  # no id without a cluster: it says "submitted"
        ours = make_store_id(root)
        jobs = look(ours, whose(root))
        adopt(graph, active_by_key(jobs))
        in_queue = {one.id for one in jobs if one.active}
        missing = _missing(graph)
        graph.without_room = 0
        batch = Batch(graph, turn, ours, {one.id for one in jobs}, in_queue)
        try:
            for job in missing if _submit_check(batch) else ():
                _submit_one(batch, job)
        except Full as full:
            graph.full = str(full)
            graph.without_room = len([job for job in missing if job.key not in graph.ids])
    return [job for job in missing if job.key in graph.ids]


def adopt(graph: Graph, active: dict[str, Seen]) -> None:
    """Take note of our jobs that are in the queue."""
    for key, one in active.items():
        if key in graph.open or (graph.check is not None and key == graph.check.key):
            graph.ids[key] = one.id
            graph.prepared.add(key)


def _missing(graph: Graph) -> list[Job]:
    """Return the jobs to submit, parents first."""
    store = graph.ground.store
    return [
        job
        for job in graph.ground.plan.jobs
        if job.key in graph.open
        and job.key not in graph.ids
        and job.key not in graph.failed
        and job.key not in graph.ground.blocked
        and store.state(job).name not in ("done", "running")
    ]


def _submit_check(batch: Batch) -> bool:
    """Have a worker looked at if that is still to be done; return whether jobs may follow."""
    graph, check = batch.graph, batch.graph.check
    if check is None or check.key in graph.ids:
        return True
    if check.passed:
        graph.check = None
        return True
    try:
        asked = check.asked(batch.store_id)
        graph.ids[check.key] = _place(batch, asked, check.prepare(), ())
    except Rejected as error:
        refused = f"failed: sbatch refused the look at a worker: {error}"
        graph.failed |= dict.fromkeys((job.key for job in _missing(graph)), refused)
        return False
    return True


def _submit_one(batch: Batch, job: Job) -> None:
    """Submit a job behind the one that it needs, if that is done or in the queue."""
    graph, ground = batch.graph, batch.graph.ground
    source = ground.plan.source_of(job)
    after: tuple[str, ...] = ()
    if source is not None and source.key in graph.open:
        if source.key not in graph.ids:
            return  # at work elsewhere, or not in the queue either
        after = (graph.ids[source.key],)
    elif graph.check is not None:
        after = (graph.ids[graph.check.key],)
    folder = ground.store.dir(job)
    if job.key not in graph.prepared:
        ground.store.prepare(job, ground.data(job), compute_by(job, ground))
        graph.prepared.add(job.key)
    try:
        graph.ids[job.key] = _place(batch, asked_by(job, ground, batch.store_id), folder, after)
    except Rejected as error:
        graph.failed[job.key] = f"failed: sbatch refused it: {error}"


def _place(batch: Batch, asked: Asked, folder: Path, after: tuple[str, ...]) -> str:
    """Return the id of a job put into the queue; raise Full if the site lets no more into it."""
    most = batch.graph.ground.site.slurm.common.max_queued
    if most and len(batch.in_queue) >= most:
        raise Full(f"slurm.max_queued is {most}")
    if batch.turn.superseded:
        raise Taken("another process, which took this one for dead")
    number = submit(asked, folder, after, batch.known)
    batch.known.add(number)
    batch.in_queue.add(number)
    return number
