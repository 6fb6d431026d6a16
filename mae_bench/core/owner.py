"""Which process has something: known on the machine and in the container that it runs in."""

import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True)
class Owner:
    """The process that has a turn."""

    host: str
    system: str
    """Where its process id means something: the machine since its start, and the container."""
    pid: int
    began: str
    """When the process started, in ticks since the machine did: process ids come again."""
    started_by: str = ""
    """What started it, such as slurm/JOB/RESTARTS; empty for a person or a program here."""
    since: str = ""
    """Date and time by its own clock, for people."""

    @property
    def here(self) -> bool:
        """Whether its process id can be looked up here."""
        here = bool(self.system) and (self.host, self.system) == (socket.gethostname(), _system())
        return here and not _hidden(self.pid)

    @property
    def runs(self) -> bool:
        """Whether the process is there; only to be asked where the owner is `here`."""
        return _began(self.pid) == self.began

    @property
    def is_this_process(self) -> bool:
        """Whether it is the process that asks."""
        return self.here and self.pid == os.getpid() and self.runs

    @property
    def seconds(self) -> float:
        """How long it has had its turn, by the clocks of two machines."""
        try:
            since = datetime.fromisoformat(self.since)
        except ValueError:
            return 0.0
        return max(0.0, (datetime.now(UTC) - since).total_seconds())

    def __str__(self) -> str:
        """Return who it is, for people."""
        by = f", {self.started_by}" if self.started_by else ""
        return f"process {self.pid} on {self.host}{by}, since {self.since}"


def this_process(started_by: str = "") -> Owner:
    """Return this process as an owner."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    began = _began(os.getpid()) or ""
    return Owner(socket.gethostname(), _system(), os.getpid(), began, started_by, now)


def _began(pid: int) -> str | None:
    """Return when a process started, in clock ticks; None if there is none that still runs."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else rest[18]


def _hidden(pid: int) -> bool:
    """Return whether there is such a process, but this user may not look it up."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return not Path(f"/proc/{pid}/stat").exists()
    except OSError:
        return False
    return False


def _system() -> str:
    """Return a name for this machine since its start and this container: the reach of a pid.

    Empty where that cannot be told.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""
