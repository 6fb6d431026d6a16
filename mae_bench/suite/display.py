"""What a person sees of a run: live bars on a terminal, one line an event elsewhere."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mae_bench.core.files import last_progress
from mae_bench.core.job import Job
from mae_bench.suite.store import Store
from mae_bench.suite.wording import duration, job_name, result_text, training_text

PLAIN_EVERY_S = 30.0


class Display(Protocol):
    """Is told of every event of a run."""

    def started(self, job: Job) -> None:
        """A job's process began."""

    def finished(self, job: Job, store: Store) -> None:
        """A job has a result."""

    def failed(self, job: Job, reason: str, log: Path) -> None:
        """A job ended without a result."""

    def cancelled(self, job: Job, reason: str) -> None:
        """A person ended the job."""

    def blocked(self, job: Job, reason: str) -> None:
        """A job cannot run."""

    def waiting(self, job: Job, reason: str) -> None:
        """Another process runs a job."""

    def saving(self, jobs: Sequence[Job], seconds: float) -> None:
        """The run was interrupted, and its jobs have so many seconds to save themselves."""

    def note(self, line: str) -> None:
        """Something happened that concerns the whole run."""

    def tick(self, running: Sequence[tuple[Job, float]], store: Store, left: float) -> None:
        """Called a few times a second with the running jobs and the seconds left of each."""


class Lines:
    """One plain line an event, and the time left twice a minute."""

    def __init__(self, total: int, done: int, write: Callable[[str], None]) -> None:
        self.total, self.done = total, done
        self.write = write
        self.told = time.monotonic()

    def started(self, job: Job) -> None:
        """Write which job began."""
        self.write(f"started   {job_name(job)}  ({job.key})")

    def finished(self, job: Job, store: Store) -> None:
        """Write the job's numbers."""
        self.done += 1
        result = store.result(job)
        assert result is not None
        self.write(f"finished  {job_name(job)}: {result_text(job, result)}")

    def failed(self, job: Job, reason: str, log: Path) -> None:
        """Write why, and where to read more."""
        more = f"  (log: {log})" if log.exists() else ""
        self.write(f"FAILED    {job_name(job)}: {reason}{more}")

    def cancelled(self, job: Job, reason: str) -> None:
        """Write who ended it."""
        self.write(f"cancelled {job_name(job)}: {reason}")

    def blocked(self, job: Job, reason: str) -> None:
        """Write why."""
        self.write(f"blocked   {job_name(job)}: {reason}")

    def waiting(self, job: Job, reason: str) -> None:
        """Write who runs it."""
        self.write(f"waiting   {job_name(job)}: {reason}")

    def saving(self, jobs: Sequence[Job], seconds: float) -> None:
        """Write what is waited for."""
        names = ", ".join(job_name(job) for job in jobs)
        self.write(
            f"stopping  {names}: saving, {seconds:.0f} s at most; further signals are ignored"
        )

    def note(self, line: str) -> None:
        """Write the line."""
        self.write(line)

    def tick(self, running: Sequence[tuple[Job, float]], store: Store, left: float) -> None:
        """Write progress twice a minute."""
        if time.monotonic() - self.told < PLAIN_EVERY_S or not running:
            return
        self.told = time.monotonic()
        jobs = "; ".join(f"{job_name(job)} {progress_text(job, store, s)}" for job, s in running)
        if self.total == 1:
            more = training_text(last_progress(store.dir(running[0][0])) or {})
            self.write("; ".join(filter(None, [f"progress  {jobs}", more])))
        else:
            self.write(f"progress  {self.done}/{self.total} jobs, {duration(left)} left; {jobs}")


def progress_text(job: Job, store: Store, left: float) -> str:
    """Return steps done and time left of a running job."""
    line = last_progress(store.dir(job))
    steps = f"{line['step']}/{line['steps']}, " if line else ""
    evaluated = f"evaluating: {line['evaluated']}, " if line and "evaluated" in line else ""
    return f"{evaluated or steps}{duration(left)} left"


class Bars(Lines):
    """Live bars for the suite and each running job; events scroll by above them."""

    def __init__(self, total: int, done: int, console: Console) -> None:
        self.live = Live(console=console, refresh_per_second=4, transient=True)
        super().__init__(total, done, lambda line: self.live.console.print(line, highlight=False))

    def __enter__(self) -> "Bars":
        self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.live.stop()

    def tick(self, running: Sequence[tuple[Job, float]], store: Store, left: float) -> None:
        """Redraw the bars."""
        table = Table.grid(padding=(0, 1))
        whole = f"{self.done}/{self.total} jobs, {duration(left)} left"
        if self.total > 1:
            bar = ProgressBar(total=self.total, completed=self.done, width=30)
            table.add_row("suite", bar, whole)
        for job, seconds in running:
            line = last_progress(store.dir(job)) or {}
            bar = ProgressBar(total=line.get("steps", 1), completed=line.get("step", 0), width=30)
            table.add_row(job_name(job), bar, progress_text(job, store, seconds))
            if self.total == 1:
                table.add_row("", "", training_text(line))
        self.live.update(Group(Text(), table))
