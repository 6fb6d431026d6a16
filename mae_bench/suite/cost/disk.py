"""What the jobs to run will write, against the room that the store has."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mae_bench.core.job import Job
from mae_bench.suite.cost.counting import work_of
from mae_bench.suite.plan import DataSizes
from mae_bench.suite.store import Store

RESERVE = 0.02
"""Share of what is needed that logs, curves and pictures take beside."""


def bytes_of(job: Job, sizes: DataSizes, keep: int) -> float:
    """Return what the job leaves: `keep` checkpoints and its files; 0 where nothing is known."""
    work = work_of(job, sizes)
    if work is None:
        return 0.0
    return (1 + RESERVE) * (keep * work.checkpoint_bytes + work.left_bytes)


@dataclass(frozen=True)
class Room:
    """Bytes that jobs will write and bytes that are free for them."""

    needed: float
    free: int

    @property
    def short(self) -> bool:
        """Whether it does not fit."""
        return self.needed > self.free


def room(jobs: Sequence[Job], store: Store, sizes: DataSizes, keep: int) -> Room:
    """Return what those jobs will write beside what they have written, against what is free.

    A new checkpoint is written before an old one goes: the largest counts once more.
    """
    left = (max(0.0, bytes_of(job, sizes, keep) - bytes_in(store.dir(job))) for job in jobs)
    works = (work_of(job, sizes) for job in jobs)
    save = max((work.checkpoint_bytes for work in works if work is not None), default=0.0)
    return Room(sum(left) + save, bytes_free(store.root))


def disk_problem(jobs: Sequence[Job], store: Store, sizes: DataSizes, keep: int) -> list[str]:
    """Return a problem if what the jobs will write does not fit into the store's disk."""
    found = room(jobs, store, sizes, keep)
    if not found.short:
        return []
    return [
        f"disk: {size(found.free)} are free for the store {store.root}, and {len(jobs)} jobs will "
        f"write about {size(found.needed)}; free some, or pass --store DIR on a larger disk"
    ]


def size(count: float) -> str:
    """Return bytes for people, such as 3.2 GB."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:,.1f} {unit}"
    return f"{count / 1e3:,.0f} kB"


def bytes_in(folder: Path) -> int:
    """Return the bytes of the files in a job's folder, 0 if there is none."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def bytes_free(folder: Path) -> int:
    """Return the bytes free where the folder is or will be made."""
    there = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
    return shutil.disk_usage(there).free
