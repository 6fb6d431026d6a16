"""The attempts at a job: who may begin one, what each saved, and when to stop trying."""

import hashlib
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mae_bench.core.files import METRICS, last_progress
from mae_bench.core.owner import Owner, this_process
from mae_bench.core.turns import (
    MINE,
    OWNER,
    STOPPING,
    Superseded,
    Taken,
    Turn,
    beating,
    newest,
    take,
    turns,
)

log = logging.getLogger(__name__)

ATTEMPTS = "attempts"
START = "start.json"
"""In an attempt's folder: what was saved when it began."""
STARTING = "starting"
"""What an owner was started by that only holds the attempt for a process it is starting."""
MOST_IN_VAIN = 3
"""Attempts in a row that may save nothing new before the job counts as failed."""
UNCOUNTED = re.compile(
    r"(attempts|figures|tensorboard|trackers|mmengine)/|core(\.\d+)?$|.*\.(part|sbatch|txt)$"
    r"|(job|compute|facts|seconds|energy|failure|cancelled|submission)\.json$"
    rf"|{re.escape(METRICS)}$"
)
"""Files that say nothing about how far a job is."""
OWN = "checkpoints/step-"
"""How the checkpoints of the job's own training begin; tasks of several trainings have more."""
CHECKPOINT = re.compile(r"(.*step-)(\d+)(-[0-9a-f]+)?\.pt$")


@dataclass(frozen=True)
class Saved:
    """What an attempt finds to continue from."""

    digest: str
    """Of the names of the files saved so far: another one means that there was progress."""
    step: int | None
    """Steps that the newest checkpoints hold, summed over trainings; None without any."""
    own: int | None = None
    """Those of the job's own training."""


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


def last_over(folder: Path) -> int:
    """Return the number of the newest attempt that is not at work any more, 0 without one."""
    last = newest(folder / ATTEMPTS)
    return 0 if last is None else last.number - last.alive


def begin(folder: Path, started_by: str) -> Turn:
    """Take the next attempt at the job in a folder; raise Taken if another process is at it.

    A start that comes of the same submission as an attempt that still looks alive, again, takes
    over from it: a scheduler starts a job again when it believes its node dead.
    """
    last = newest(folder / ATTEMPTS)
    if last is not None and last.alive and not _again(last.owner, started_by):
        raise Taken(f"{folder.name} is run by {last.owner or 'another process'}")
    return _take(folder, last, started_by)


def begin_after(folder: Path, number: int) -> Turn:
    """Take the attempt after that number for a process to be started, which will `adopt` it.

    Raises Taken if there is a newer one: whoever saw the job as it was after attempt `number`, and
    decided by that to start it, must look again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    last = newest(folder / ATTEMPTS)
    if (last.number if last else 0) != number:
        raise Taken(f"{folder.name} was started by another process")
    return _take(folder, last, STARTING)


def adopt(turn: Turn, started_by: str) -> None:
    """Take over the turn that the process which started this one took for it."""
    turn.check()
    turn.note(OWNER, **asdict(this_process(started_by)))


def disown(turn: Turn, code: int) -> None:
    """End the turn of a child of this process that ended, with that code, before it adopted it."""
    owner = turn.owner
    if owner is not None and owner.is_this_process and turn.ended is None:
        turn.end("killed" if code < 0 else "failed", code=code)


@contextmanager
def at_work(turn: Turn) -> Iterator[None]:
    """Show signs of life, and let this process and its children write only while it is newest."""
    _warn(turn)
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
    starts = [(turn.read(START) or {}).get("digest") for turn in _since(folder, since)]
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
    return Saved(digest, sum(steps.values()) if steps else None, steps.get(OWN))


def in_vain_text(folder: Path) -> str:
    """Return why no further attempt is made."""
    ends = [turn.ended or {"outcome": "killed"} for turn in turns(folder / ATTEMPTS)[:-1]]
    last = ", ".join(str(end["outcome"]) for end in ends[-MOST_IN_VAIN:])
    return (
        f"{MOST_IN_VAIN} attempts in a row saved nothing new ({last}): log.txt says how each "
        "ended; give them more time or memory, then start the job again"
    )


def _take(folder: Path, last: Turn | None, started_by: str) -> Turn:
    """Take the attempt after the last one and note what it finds."""
    turn = take(folder / ATTEMPTS, last.number if last else 0, this_process(started_by))
    saved = saved_in(folder)
    turn.note(START, digest=saved.digest, step=saved.step, lost=_lost(folder, saved))
    return turn


def _since(folder: Path, number: int) -> list[Turn]:
    """Return the turns after that number."""
    return [turn for turn in turns(folder / ATTEMPTS) if turn.number > number]


def _again(owner: Owner | None, started_by: str) -> bool:
    """Return whether this is a later start of the submission that the owner was started by."""
    if owner is None or not started_by:
        return False
    before, now = owner.started_by.rpartition("/"), started_by.rpartition("/")
    return before[0] == now[0] and before[2] != now[2]


def _lost(folder: Path, saved: Saved) -> int:
    """Return the steps that the attempt before logged, but that no checkpoint holds."""
    line = last_progress(folder) or {}
    if saved.own is None and not {"loss", "images_per_s"} & line.keys():
        return 0  # what counts there are parts that are kept when they are done
    return max(0, int(line.get("step", 0)) - (saved.own or 0))


def _warn(turn: Turn) -> None:
    """Warn if the attempt before was told to stop and killed before it had saved itself."""
    last = Turn(turn.folder.parent / str(turn.number - 1))
    if last.read(STOPPING) is not None and last.ended is None:
        log.warning(
            "attempt %d was told to stop, and killed before its state was saved: what came after "
            "the checkpoint before is lost; unless its machine broke down, give notice earlier "
            "(slurm.notice_s in site.toml)",
            last.number,
        )
