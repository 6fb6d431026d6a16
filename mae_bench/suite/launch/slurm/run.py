"""What a run knows that follows its jobs through SLURM's queue, and how it has done with one."""

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from mae_bench.core.job import Job
from mae_bench.suite.display import Display
from mae_bench.suite.launch.slurm.calls import require_programs
from mae_bench.suite.launch.slurm.graph import Graph, graph_of
from mae_bench.suite.preflight import Ground
from mae_bench.suite.store import CANCELLED, FAILURE, LOG


@dataclass
class Run:
    """A run and what it has seen so far."""

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
    """Key -> times that this run submitted it again."""
    told: set[str] = field(default_factory=set)
    """What was said, and is not said again."""
    looked: float = float("-inf")
    """When this run last looked at the queue."""

    @property
    def ground(self) -> Ground:
        """The suite on this machine."""
        return self.graph.ground

    def open_jobs(self) -> list[Job]:
        """Return the jobs that have neither a result nor a reason for none, parents first."""
        return [job for job in self.ground.plan.jobs if job.key in self.graph.open]

    def leave(self, job: Job) -> None:
        """Forget a job's place in the queue, so that it gets a new one."""
        for known in (self.graph.ids, self.gone, self.running):
            known.pop(job.key, None)

    def finish(self, job: Job) -> None:
        """Close a job that has its result."""
        self._close(job)
        self.display.finished(job, self.ground.store)

    def fail(self, job: Job, reason: str) -> None:
        """Close a job that ended without a result."""
        self._close(job, f"failed: {reason}")
        self.display.failed(job, reason, self.ground.store.dir(job) / LOG)

    def give_up(self, job: Job, reason: str) -> None:
        """Close a job that a person cancelled."""
        self._close(job, f"cancelled: {reason}")
        self.display.cancelled(job, reason)

    def block(self, job: Job, reason: str) -> None:
        """Close a job that cannot run."""
        self._close(job, f"blocked: {reason}")
        self.display.blocked(job, reason)

    def once(self, what: str, line: str) -> None:
        """Tell something the first time that it is so."""
        if what not in self.told:
            self.told.add(what)
            self.display.note(line)

    def settled(self, key: str) -> bool:
        """Return whether the files of a job that left the queue had time to arrive."""
        since = self.gone.setdefault(key, time.monotonic())
        return time.monotonic() - since >= self.ground.site.slurm.common.settle_s

    def failed_now(self, job: Job) -> bool:
        """Return whether the failure that is noted came in this run's time."""
        old = self.old_failures.get(job.key)
        return not old or written(self.ground.store.dir(job) / FAILURE) != old

    def _close(self, job: Job, reason: str | None = None) -> None:
        """Have done with a job."""
        self.leave(job)
        del self.graph.open[job.key]
        if reason is not None:
            self.graph.failed[job.key] = reason


def run_of(ground: Ground, display: Display) -> Run:
    """Return a run that has not looked yet; what was cancelled before is asked for anew.

    Raises ValueError where SLURM's programs are not installed.
    """
    require_programs()
    graph = graph_of(ground)
    for job in graph.open.values():
        (ground.store.dir(job) / CANCELLED).unlink(missing_ok=True)
    old = {key: written(ground.store.dir(job) / FAILURE) for key, job in graph.open.items()}
    return Run(graph, display, old)


def written(path: Path) -> int:
    """Return when the file was written, 0 if there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
