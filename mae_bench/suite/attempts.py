"""The attempts at a job: who may begin one, what each saved, and when to stop trying."""

import hashlib
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mae_bench.core.files import METRICS, last_progress
from mae_bench.core.turns import (
    MINE,
    STOPPING,
    Owner,
    Superseded,
    Taken,
    Turn,
    beating,
    newest,
    take,
    this_process,
    turns,
)

log = logging.getLogger(__name__)

ATTEMPTS = "attempts"
START = "start.json"
"""In an attempt's folder: what was saved when it began."""
MOST_IN_VAIN = 3
"""Attempts in a row that may save nothing new before the job counts as failed."""
UNCOUNTED = re.compile(
    r"(attempts|figures|tensorboard|mmengine)/|core(\.\d+)?$|.*\.(part|sbatch|txt)$"
    r"|(job|compute|facts|seconds|energy|failure|cancelled|submission)\.json$"
    rf"|{re.escape(METRICS)}$"
)
"""Files that say nothing about how far a job is."""
CHECKPOINT = re.compile(r"(.*step-)(\d+)(-[0-9a-f]+)?\.pt$")


@dataclass(frozen=True)
class Saved:
    """What an attempt finds to continue from."""

    digest: str
    """Of the names of the files saved so far: another one means that there was progress."""
    step: int | None
    """Steps that the newest checkpoints hold; None without any."""


@dataclass(frozen=True)
class Attempt:
    """One attempt, read now."""

    number: int
    owner: Owner | None
    alive: bool
    ended: dict[str, Any] | None
    """How it ended; None while it runs and after it was killed."""
    start: dict[str, Any]
    """What was noted at its beginning: `digest` and `step` of what was saved, `lost` steps."""


def attempts(folder: Path) -> list[Attempt]:
    """Return the attempts at the job in a folder, oldest first."""
    found = turns(folder / ATTEMPTS)
    last = found[-1] if found else None
    return [
        Attempt(
            turn.number,
            turn.owner,
            turn is last and turn.alive,
            turn.ended,
            turn.read(START) or {},
        )
        for turn in found
    ]


def lost_steps(tried: list[Attempt]) -> int:
    """Return the steps that had to be taken again, over all attempts."""
    return sum(int(attempt.start.get("lost", 0)) for attempt in tried)


def holder(folder: Path) -> Owner | None:
    """Return who is at work on the job in a folder now, None if nobody is."""
    last = newest(folder / ATTEMPTS)
    if last is None or not last.alive:
        return None
    return last.owner or Owner("unknown", "", 0, "")


def last_number(folder: Path) -> int:
    """Return the number of the newest attempt, 0 without one."""
    last = newest(folder / ATTEMPTS)
    return 0 if last is None else last.number


def begin(folder: Path, started_by: str) -> Turn:
    """Take the next attempt at the job in a folder; raise Taken if another process is at it.

    A start that comes of the same submission as an attempt that still looks alive, again, takes
    over from it: a scheduler starts a job again when it believes its node dead.
    """
    last = newest(folder / ATTEMPTS)
    if last is not None and last.alive and not _again(last.owner, started_by):
        raise Taken(f"{folder.name} is run by {last.owner or 'another process'}")
    turn = take(folder / ATTEMPTS, last.number if last else 0, this_process(started_by))
    saved = saved_in(folder)
    turn.note(START, digest=saved.digest, step=saved.step, lost=_lost(folder, saved))
    if last is not None:
        _warn_of(last)
    return turn


@contextmanager
def at_work(turn: Turn) -> Iterator[None]:
    """Show signs of life, and let this process and its children write only while it is newest."""
    before = os.environ.get(MINE)
    os.environ[MINE] = str(turn.folder)
    try:
        with beating(turn):
            yield
    except Superseded:
        turn.end("superseded")
        raise
    finally:
        if before is None:
            del os.environ[MINE]
        else:
            os.environ[MINE] = before


def in_vain(folder: Path, since: int) -> bool:
    """Return whether the last attempts all began with what is saved now; the newest is beginning.

    Only attempts after number `since` count: asked for anew, a job has all its attempts again.
    """
    starts = [a.start.get("digest") for a in attempts(folder) if a.number > since]
    return len(starts) > MOST_IN_VAIN and len(set(starts[-MOST_IN_VAIN - 1 :])) == 1


def saved_in(folder: Path) -> Saved:
    """Return what is saved in a job's folder.

    Names are enough: a checkpoint's holds its step, and other files appear when a part is done.
    """
    names, steps = set(), dict[str, int]()
    for root, _, files in os.walk(folder):
        for file in files:
            name = os.path.relpath(os.path.join(root, file), folder)  # noqa: PTH118 - many
            if UNCOUNTED.match(name):
                continue
            checkpoint = CHECKPOINT.match(name)
            if checkpoint:
                name = checkpoint[1] + checkpoint[2]
                steps[checkpoint[1]] = max(int(checkpoint[2]), steps.get(checkpoint[1], 0))
            names.add(name)
    digest = hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:16]
    return Saved(digest, sum(steps.values()) if steps else None)


def _again(owner: Owner | None, started_by: str) -> bool:
    """Return whether this is a later start of the submission that the owner was started by."""
    if owner is None or not started_by:
        return False
    before, now = owner.started_by.rpartition("/"), started_by.rpartition("/")
    return before[0] == now[0] and before[2] != now[2]


def _lost(folder: Path, saved: Saved) -> int:
    """Return the steps that the attempt before logged, but that no checkpoint holds."""
    line = last_progress(folder)
    if line is None or saved.step is None:
        return int(line["step"]) if line else 0
    return max(0, int(line["step"]) - saved.step)


def _warn_of(last: Turn) -> None:
    """Warn if the attempt before was told to stop and killed before it had saved itself."""
    told = last.read(STOPPING)
    if told is not None and last.ended is None:
        log.warning(
            "attempt %d was told to stop, and killed before its state was saved: what came after "
            "the checkpoint before is lost; give notice earlier (slurm.notice_s in site.toml)",
            last.number,
        )
