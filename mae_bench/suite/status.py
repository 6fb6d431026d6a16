"""What a store tells of its jobs: how each stands, how far it is, and where it runs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mae_bench.core.files import METRICS, recent_progress
from mae_bench.core.job import Job
from mae_bench.core.recipe import Metric
from mae_bench.suite.attempts import Attempt, attempts, lost_steps
from mae_bench.suite.flaws import Flaw, flaws_of
from mae_bench.suite.launch.queue import QueueEntry
from mae_bench.suite.plan import Plan
from mae_bench.suite.store import RESULT, JobState, Store, read_result, state_in
from mae_bench.suite.stored import StoredJob
from mae_bench.suite.wording import one_line

StandName = Literal[
    "done",
    "running",
    "retrying",
    "queued",
    "waiting",
    "blocked",
    "failed",
    "cancelled",
    "interrupted",
    "new",
]
OVER = ("done", "failed", "blocked", "cancelled")
"""Nothing will change unless a person does something."""
AT_WORK = ("running", "retrying", "queued", "waiting")
"""Something will come of it."""


@dataclass(frozen=True)
class Entry:
    """A job to look at, whether it is planned or only in the store."""

    key: str
    row: str
    recipe: str
    seed: int
    metrics: tuple[Metric, ...]
    source: str | None
    """Key of the job that it starts from, if that is one."""

    def __str__(self) -> str:
        """Return the job for people."""
        return f"{self.recipe} of {one_line(self.row)} (seed {self.seed})"


@dataclass(frozen=True)
class Progress:
    """How far a job is."""

    step: int
    steps: int
    evaluated: str
    """What it evaluates now and how far that is; empty while it trains."""
    left_s: float | None
    """Seconds of training left at the pace of the last steps; None where nothing tells."""

    @property
    def share(self) -> float:
        """The part of the steps that is done."""
        return min(1.0, self.step / self.steps) if self.steps > 0 else 0.0


@dataclass(frozen=True)
class Standing:
    """How one job stands, read now."""

    entry: Entry
    folder: Path
    state: StandName
    reason: str
    cause: str
    """Key of the job that it waits for or that blocks it; empty if there is none."""
    progress: Progress | None
    tried: int
    """Attempts so far."""
    lost_steps: int
    where: Mapping[str, Any]
    """Of a job that runs or is queued: host, pid, started_by; id, where and start in the queue."""
    flaws: tuple[Flaw, ...] = ()
    """What went wrong in a training that is done."""


@dataclass(frozen=True)
class View:
    """What the standings are read from, beside the files of each job."""

    store: Store
    blocked: Mapping[str, str]
    """Job key -> why it cannot run on this machine."""
    queue: Mapping[str, QueueEntry]
    """Job key -> what the scheduler says, which is a hint: the files are the truth."""


def planned(plan: Plan) -> list[Entry]:
    """Return the entries of a plan, sources first."""
    return [entry_of(job, plan) for job in plan.jobs]


def entry_of(job: Job, plan: Plan) -> Entry:
    """Return the entry of a planned job."""
    source, recipe = plan.source_of(job), job.recipe
    above = None if source is None else source.key
    return Entry(job.key, job.row, recipe.name, job.seed, recipe.metrics, above)


def stored(jobs: Iterable[StoredJob]) -> list[Entry]:
    """Return the entries of the store's jobs, sources first."""
    entries = {
        job.key: Entry(
            job.key,
            job.row,
            job.name,
            job.seed,
            job.recipe.metrics,
            job.content["identity"].get("source"),
        )
        for job in jobs
    }
    ordered: dict[str, Entry] = {}
    for entry in entries.values():
        for one in reversed(chain(entry, entries)):
            ordered.setdefault(one.key, one)
    return list(ordered.values())


def chain(entry: Entry, entries: Mapping[str, Entry]) -> list[Entry]:
    """Return the entry, its source, the source of that and so on."""
    found = [entry]
    while (above := entries.get(found[-1].source or "")) is not None and above not in found:
        found.append(above)
    return found


def standings(entries: Iterable[Entry], view: View) -> dict[str, Standing]:
    """Return how the jobs stand by key, in the order of the entries: sources first."""
    found: dict[str, Standing] = {}
    for entry in entries:
        found[entry.key] = _standing(entry, view, found.get(entry.source or ""))
    return found


def _standing(entry: Entry, view: View, source: Standing | None) -> Standing:
    """Return how a job stands, given how its source does."""
    folder, queued = view.store.root / entry.key, view.queue.get(entry.key)
    now, tried = state_in(folder, entry.key, entry.metrics), attempts(folder)
    state, reason = _own(now, queued, bool(tried) or (folder / METRICS).exists())
    cause = ""
    if entry.key in view.blocked and state not in ("done", "running"):
        state, reason = "blocked", view.blocked[entry.key]
    elif source is not None and state in ("queued", "interrupted", "new"):
        if source.state in ("failed", "blocked", "cancelled"):
            cause = source.cause or source.entry.key
            state, reason = "blocked", f"{source.entry} {_ended(source)}"
        elif source.state in AT_WORK or (queued and source.state != "done"):
            state, reason, cause = "waiting", str(source.entry), source.entry.key
    if state == "blocked" and source is not None and source.state == "blocked":
        cause, reason = source.cause or source.entry.key, source.reason
    return Standing(
        entry,
        folder,
        state,
        reason,
        cause,
        None if state == "done" else _progress(folder, state),
        len(tried),
        lost_steps(tried),
        _where(state, tried, queued),
        _flaws(folder, entry) if state == "done" else (),
    )


def _ended(source: Standing) -> str:
    """Return how a source ended that others cannot start from."""
    why = f": {source.reason}" if source.reason else ""
    return f"was cancelled{why}" if source.state == "cancelled" else f"{source.state}{why}"


def _own(now: JobState, queued: QueueEntry | None, begun: bool) -> tuple[StandName, str]:
    """Return a job's state and the reason for it, its source aside."""
    if now.name in ("done", "failed", "cancelled"):
        return now.name, now.reason
    if now.name == "running":
        return "running", ""
    if queued is not None:
        again = begun or queued.state == "retrying"
        starting = "the scheduler is starting it" if queued.state == "running" else ""
        return "retrying" if again else "queued", queued.reason or starting
    return ("interrupted", now.reason) if begun or now.reason else ("new", "")


def _progress(folder: Path, state: StandName) -> Progress | None:
    """Return how far the job is, None before its first step."""
    lines = [line for line in recent_progress(folder) if {"step", "steps"} <= line.keys()]
    if not lines:
        return None
    first, last = lines[0], lines[-1]
    steps, seconds = last["step"] - first["step"], last.get("time", 0) - first.get("time", 0)
    left = None
    if state == "running" and "evaluated" not in last and steps > 0 and seconds > 0:
        left = (last["steps"] - last["step"]) * seconds / steps
    return Progress(last["step"], last["steps"], str(last.get("evaluated", "")), left)


def _flaws(folder: Path, entry: Entry) -> tuple[Flaw, ...]:
    """Return what a finished job's result notes of its training."""
    result = read_result(folder / RESULT, entry.key, entry.metrics)
    return () if result is None else flaws_of(result.provenance)


def _where(state: StandName, tried: list[Attempt], queued: QueueEntry | None) -> Mapping[str, Any]:
    """Return where a job runs or is queued; nothing of others."""
    where: dict[str, Any] = {}
    owner = tried[-1].owner if tried else None
    if state == "running" and owner is not None:
        where = {"host": owner.host, "pid": owner.pid, "started_by": owner.started_by}
        where["since"] = owner.since
    if queued is not None and state in AT_WORK:
        where["queue"] = {"id": queued.id, "where": queued.where, "start": queued.start}
    return where
