"""Whose turn it is to work on a folder, told by folders alone: no locks, no scheduler's word.

Making a folder succeeds once on every file system, network ones too. So each start makes the next
number below `attempts/`, and the newest number is the one whose writing counts.
"""

import json
import logging
import math
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mae_bench.core.owner import Owner

log = logging.getLogger(__name__)

BUSY = 76
"""Exit code of a process that finds another one at its work."""
BEAT_S = 20.0
"""Seconds between two signs of life."""
LEASE_S = 600.0
"""Seconds without a sign of life after which an owner on another machine counts as dead; twice
what the clocks of two machines may differ."""
NAMELESS_S = 30.0
"""Seconds after which a turn counts as dead that says nothing of its owner: it was killed while it
took the turn. If it only was slow, what it writes later does not count."""
MINE = "MAE_BENCH_ATTEMPT"
"""Environment variable: the folder of the turn that this process and its children have."""
OWNER, BEAT, ENDED, STOPPING = "owner.json", "beat", "ended.json", "stopping.json"


class Taken(Exception):  # noqa: N818 - no fault: another process was quicker
    """Another process took the turn."""


class Superseded(SystemExit):
    """A newer attempt has the folder, so that this process ends without writing."""

    def __init__(self) -> None:
        super().__init__(BUSY)


@dataclass(frozen=True)
class Turn:
    """One process's turn: a folder whose name is a number."""

    folder: Path

    @property
    def number(self) -> int:
        """Its place in the order; 1 is the first."""
        return int(self.folder.name)

    @property
    def owner(self) -> Owner | None:
        """Who has it; None in the moment before that is written."""
        content = _read(self.folder / OWNER)
        known = {field.name for field in fields(Owner)}
        try:
            return None if content is None else Owner(**{k: content[k] for k in known & {*content}})
        except TypeError:
            return None

    @property
    def ended(self) -> dict[str, Any] | None:
        """How it ended: `outcome` and what else was noted; None if it has not, or was killed."""
        return _read(self.folder / ENDED)

    @property
    def alive(self) -> bool:
        """Whether its owner is still at work, as far as can be seen from here.

        A process of this machine and container is looked up. Any other, such as one in another
        container or hidden from this user, lives as long as its signs of life come.
        """
        if self.ended is not None:
            return False
        owner = self.owner
        if owner is None:
            return silent_s(self.folder) < NAMELESS_S
        return owner.runs if owner.here else silent_s(self.folder) < LEASE_S

    @property
    def superseded(self) -> bool:
        """Whether there is a newer turn."""
        latest = newest(self.folder.parent)
        return latest is not None and latest.number > self.number

    def check(self) -> None:
        """Raise Superseded if there is a newer turn.

        Touching the folder first makes a network file system forget what it remembers of it.
        """
        with suppress(OSError):
            os.utime(self.folder.parent)
        if self.superseded:
            log.warning("attempt %d ends without writing: a newer one is at work", self.number)
            raise Superseded

    def note(self, name: str, **values: Any) -> None:
        """Write a small file into the turn's own folder."""
        _written(self.folder, name, values).replace(self.folder / name)

    def read(self, name: str) -> dict[str, Any] | None:
        """Return what was noted under that name, None if nothing was."""
        return _read(self.folder / name)

    def end(self, outcome: str, **values: Any) -> None:
        """Note that the turn is over, so that another may begin at once."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.note(ENDED, outcome=outcome, time=now, **values)


def turns(parent: Path) -> list[Turn]:
    """Return all turns below a folder, oldest first; none if it is not there."""
    try:
        found = [Turn(path) for path in parent.iterdir() if path.name.isdecimal()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(found, key=lambda turn: turn.number)


def newest(parent: Path) -> Turn | None:
    """Return the newest turn, None if there was none."""
    found = turns(parent)
    return found[-1] if found else None


def take(parent: Path, after: int, owner: Owner) -> Turn:
    """Make the turn after that number and return it; raise Taken if another process has it.

    The owner is written before, so that a turn is without one for the time of a renaming only.
    """
    parent.mkdir(parents=True, exist_ok=True)
    turn = Turn(parent / str(after + 1))
    name = _written(parent, OWNER, asdict(owner))
    try:
        turn.folder.mkdir()
    except FileExistsError as error:
        name.unlink()
        raise Taken(f"{turn.folder} was taken by another process") from error
    name.replace(turn.folder / OWNER)
    (turn.folder / BEAT).touch()
    return turn


@contextmanager
def beating(turn: Turn) -> Iterator[None]:
    """Show signs of life for the time of the block; a sign that fails is left out."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(BEAT_S):
            with suppress(OSError):
                os.utime(turn.folder / BEAT)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()


def silent_s(folder: Path) -> float:
    """Return the seconds since a turn's last sign of life, by the clock of the file system.

    They are endless once somebody has removed the folder.

    Both times are its own, so that machines may disagree about the time. Where nothing can be
    written, this machine's clock has to do.
    """
    beat = folder / BEAT
    try:
        then = (beat if beat.exists() else folder).stat().st_mtime
    except (FileNotFoundError, NotADirectoryError):
        return math.inf
    probe = folder / f"now.{socket.gethostname()}.{os.getpid()}"
    now = datetime.now(UTC).timestamp()
    with suppress(OSError):
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink()
    return now - then


def check_mine(path: Path) -> None:
    """Raise Superseded before a write to `path` if it is in the folder of this process's turn
    and another process has a newer one.
    """
    mine = os.environ.get(MINE)
    if mine is None:
        return
    turn = Turn(Path(mine))
    if path.is_relative_to(turn.folder.parents[1]) and not path.is_relative_to(turn.folder):
        turn.check()


def mine() -> Turn | None:
    """Return the turn that this process or its parent took, None without one."""
    folder = os.environ.get(MINE)
    return None if folder is None else Turn(Path(folder))


def note_stop(signal: int) -> None:
    """Note that this process's attempt was told to stop and is about to save itself."""
    turn = mine()
    if turn is not None and turn.read(STOPPING) is None:
        with suppress(OSError):
            turn.note(STOPPING, signal=signal)


def _written(folder: Path, name: str, values: dict[str, Any]) -> Path:
    """Return a new file that holds the values, to be renamed; no other process has its name."""
    part = folder / f"{name}.{socket.gethostname()}.{os.getpid()}.part"
    with part.open("w") as stream:
        json.dump(values, stream)
        stream.flush()
        os.fsync(stream.fileno())
    return part


def _read(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file, None if there is none or half of one."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
