"""What SLURM's queue holds of a store's jobs, found by the names that they were given."""

import os
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mae_bench.core.files import write_bytes
from mae_bench.core.site import Site
from mae_bench.suite.launch.queue import QueueEntry, QueueState
from mae_bench.suite.launch.slurm.calls import ask
from mae_bench.suite.store import Store

STORE_ID = "store.id"
"""Eight hex digits in the store that begin its jobs' names in the queue."""
FIELDS = {
    "JobID": 20,
    "State": 20,
    "Reason": 80,
    "NodeList": 200,
    "StartTime": 20,
    "RestartCnt": 8,
    "Name": 80,
}
"""What is asked of each job, and the characters for it: by itself squeue cuts at twenty."""
OTHERS = 0o022
"""In a folder's mode: who may write into it beside its owner."""
FINAL = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
}
"""States of jobs that ended, which the queue shows for some minutes. NODE_FAIL and PREEMPTED may
still become PENDING."""


@dataclass(frozen=True)
class Seen:
    """One job as the queue shows it."""

    id: str
    state: str
    """SLURM's word, such as PENDING."""
    reason: str
    where: str
    start: str
    restarts: int
    key: str
    """What follows the store's id in its name: the key of our job, or the name of a check."""

    @property
    def active(self) -> bool:
        """Whether it waits, runs or is about to end."""
        return self.state not in FINAL

    @property
    def waits(self) -> bool:
        """Whether it waits to be started."""
        return self.active and self.state not in ("RUNNING", "COMPLETING", "SUSPENDED")


def job_name(store_id: str, key: str) -> str:
    """Return the name of a job in the queue; nothing in it comes from a person."""
    return f"mae-{store_id}-{key}"


def store_id(root: Path) -> str | None:
    """Return the id of the store, None if nothing was ever submitted from it."""
    try:
        found = (root / STORE_ID).read_text().strip()
    except FileNotFoundError:
        return None
    if not re.fullmatch(r"[0-9a-f]{8}", found):
        raise ValueError(
            f"{root / STORE_ID} must hold 8 hex digits, got {found!r}; write those in that begin "
            "the names of the store's jobs in the queue, or remove it if there are none"
        )
    return found


def make_store_id(root: Path) -> str:
    """Return the store's id, made at first; only for who has the turn to submit."""
    found = store_id(root)
    if found is None:
        found = secrets.token_hex(4)
        write_bytes(root / STORE_ID, f"{found}\n".encode())
    return found


def look(store: str, whose: Sequence[str]) -> list[Seen]:
    """Return the jobs of the store with that id, ended ones too as long as SLURM shows them.

    `whose` are further options. Raises Unanswered where it does not answer.
    """
    form = ",".join(f"{name}:{width}|" for name, width in FIELDS.items())
    command = ["squeue", "--noheader", "--states=all", f"--Format={form}", *whose]
    return parsed(ask(command), store)


def whose(root: Path) -> tuple[str, ...]:
    """Return squeue's option for this user's jobs, if nobody else can submit from the store.

    That is less work for SLURM than to show everybody's.
    """
    found = root.stat()
    return ("--me",) if found.st_uid == os.getuid() and not found.st_mode & OTHERS else ()


def parsed(text: str, store: str) -> list[Seen]:
    """Return the jobs of the store with that id in squeue's answer, oldest first."""
    mine = re.compile(rf"mae-{store}-([\w-]+)")
    found = []
    for line in text.splitlines():
        parts = line.strip().split("|", len(FIELDS) - 1)  # others' names may hold anything
        if len(parts) != len(FIELDS):
            continue
        number, state, reason, where, start, restarts, name = (part.strip() for part in parts)
        match = mine.fullmatch(name.removesuffix("|"))
        if match and number.isdecimal():
            tries = int(restarts) if restarts.isdecimal() else 0
            found.append(Seen(number, state, _told(reason), where, _told(start), tries, match[1]))
    return sorted(found, key=lambda one: int(one.id))


def active_by_key(jobs: Iterable[Seen]) -> dict[str, Seen]:
    """Return, of each key, the job that waits or runs; of two the running or the older one."""
    found: dict[str, Seen] = {}
    for one in jobs:
        if one.active and (one.key not in found or (found[one.key].waits and not one.waits)):
            found[one.key] = one
    return found


def queued(store: Store, site: Site) -> dict[str, QueueEntry]:
    """Return the store's jobs that wait or run, by key; raise Unanswered if SLURM does not."""
    ours = store_id(store.root)
    if ours is None:
        return {}
    return {key: entry(one) for key, one in active_by_key(look(ours, whose(store.root))).items()}


def take_out(store: Store, site: Site, keys: Iterable[str]) -> dict[str, str]:
    """Cancel those of the jobs that wait or run; return SLURM's id of each, by key."""
    found = queued(store, site)
    ids = {key: found[key].id for key in keys if key in found}
    if ids:
        ask(["scancel", *ids.values()])
    return ids


def entry(seen: Seen) -> QueueEntry:
    """Return a job of the queue in words that any scheduler may use."""
    state: QueueState = "ending"
    if seen.waits:
        state = "retrying" if seen.restarts else "queued"
    elif seen.state in ("RUNNING", "SUSPENDED"):
        state = "running"
    return QueueEntry(seen.id, state, seen.reason, seen.where, seen.start)


def _told(word: str) -> str:
    """Return SLURM's word, empty where it stands for nothing."""
    return "" if word in ("None", "N/A", "(null)", "Unknown") else word
