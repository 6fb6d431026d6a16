"""How a job that left the queue ended, in the scheduler's words: a hint for people."""

import pwd
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mae_bench.suite.launch.queue import Unanswered
from mae_bench.suite.launch.slurm.calls import ask
from mae_bench.suite.launch.slurm.queue import Seen
from mae_bench.suite.logs import last_lines
from mae_bench.suite.store import LOG

MOST_LINES = 20
"""Of a log, in which one is looked for that is not empty."""

NOT_ITS_OWN = {"", "CANCELLED", "NODE_FAIL", "BOOT_FAIL", "PREEMPTED"}
"""Ends that say nothing about the job; one without a record may never have started."""
OF_THE_END = {
    "DependencyNeverSatisfied",
    "JobLaunchFailure",
    "NonZeroExitCode",
    "OutOfMemory",
    "PartitionDown",
    "Prolog",
    "SystemFailure",
    "TimeLimit",
}
"""Reasons that say why a job ended. Others say what it waited for before, and stay in the queue."""
ADVICE = {
    "OUT_OF_MEMORY": "it needed more memory than it was given; raise slurm.memory",
    "TIMEOUT": "its time was over before it had saved itself; raise slurm.notice_s or slurm.time",
    "NODE_FAIL": "its node failed",
    "BOOT_FAIL": "its node did not start",
    "PREEMPTED": "another job took its place",
    "DEADLINE": "its deadline was over",
}


@dataclass(frozen=True)
class End:
    """What SLURM says of a job that is not in the queue any more."""

    state: str
    """SLURM's word; empty where it keeps no record."""
    more: str = ""
    """Who cancelled it, or why."""

    @property
    def cancelled(self) -> bool:
        """Whether a person, or SLURM for want of a job that it waits for, cancelled it."""
        return self.state == "CANCELLED"

    @property
    def of_its_own(self) -> bool:
        """Whether the job itself came to an end, for want of time or memory too."""
        return self.state not in NOT_ITS_OWN

    @property
    def without_parent(self) -> bool:
        """Whether SLURM says that it was cancelled since it waits for a job that failed."""
        return self.more == "DependencyNeverSatisfied"

    def __str__(self) -> str:
        """Return it for people."""
        if not self.state:
            return "it left the queue, and SLURM keeps no record of how"
        more = ADVICE.get(self.state, self.more)
        sign = "" if not more else " " if more.startswith("by ") else ": "
        return f"{self.state}{sign}{more}"


def end_of(number: str, jobs: Iterable[Seen]) -> End:
    """Return how the job with that id ended, from the queue or else from accounting."""
    record = _accounted(number)
    seen = next((one for one in jobs if one.id == number and not one.active), None)
    if seen is None or (record and record.state == seen.state and record.more):
        return record or End("")
    return End(seen.state, seen.reason if seen.reason in OF_THE_END else "")


def with_last_words(end: End, folder: Path) -> str:
    """Return how the job in a folder ended, with the last line that it printed."""
    words = last_words(folder)
    return f"{end}; its last words: {words}" if words else str(end)


def last_words(folder: Path) -> str:
    """Return the last line that the job in a folder printed, empty if there is none."""
    try:
        lines, _ = last_lines(folder / LOG, MOST_LINES)
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def parsed_record(text: str) -> End | None:
    """Return what sacct's newest record says, None without one that tells of an end."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return None
    state, code = [part.strip() for part in lines[-1].split("|")][:2]
    word, _, by = state.partition(" by ")
    if word in ("PENDING", "RUNNING", "REQUEUED", "SUSPENDED", "RESIZING"):
        return None
    if by:
        return End(word, f"by {_user(by)}")
    return End(word, f"exit code {code.partition(':')[0]}" if word == "FAILED" else "")


def _accounted(number: str) -> End | None:
    """Return what accounting says of the job; None where there is none, or it does not answer."""
    command = ["sacct", "--noheader", "--parsable2", "--allocations", "--jobs", number]
    try:
        return parsed_record(ask([*command, "--format=State,ExitCode"]))
    except Unanswered:
        return None


def _user(number: str) -> str:
    """Return the name of the user with that number, or the number."""
    try:
        return pwd.getpwuid(int(number)).pw_name
    except (KeyError, ValueError):
        return number
