"""What in a store could be freed: never a result, nothing of who is at work, nothing outside."""

import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mae_bench.core.files import CLASSIFIER, ENCODER
from mae_bench.core.owner import this_process
from mae_bench.core.turns import Taken, take
from mae_bench.suite.attempts import ATTEMPTS, holder, last_number
from mae_bench.suite.cost.calibration import SCRATCH
from mae_bench.suite.encoders import FOLDER
from mae_bench.suite.store import JOB, RESULT
from mae_bench.suite.stored import StoredJob

CHECKPOINT = re.compile(r"step-\d+-[0-9a-f]+\.pt")
DAMAGED = re.compile(r"step-\d+-[0-9a-f]+\.damaged")
PART = re.compile(r".+\.part")
GONE = ".gone"
"""How the name of a job's folder ends while it is removed."""
AGE_S = 3600.0
"""A file outside the jobs' folders that is younger may still be written."""
TELLING = re.compile(
    r"(job|compute|facts|seconds|energy|failure|cancelled|submission|result)\.json$"
    r"|(metrics\.jsonl|log\.txt|job\.sbatch|config\.(yaml|py))$|(figures|attempts)(/|$)"
    rf"|({re.escape(ENCODER)}|{re.escape(CLASSIFIER)})$"
)
"""What stays of a finished job that nobody asks for: all that says what it was and found, and what
other jobs start from, since a job that has its result does not make that again."""


@dataclass(frozen=True)
class Waste:
    """A file or folder that could be freed."""

    path: Path
    kind: str
    num_bytes: int
    job: StoredJob | None = None
    """The job that it is of."""


@dataclass(frozen=True)
class Needs:
    """What must stay whatever it looks like."""

    keys: frozenset[str]
    """Of jobs that a scheduler has in its queue."""
    files: frozenset[Path]
    """Encoder files that planned jobs start from, resolved."""


def waste(root: Path, jobs: Iterable[StoredJob], needs: Needs) -> Iterator[Waste]:
    """Yield what no job needs any more, whichever suite it is of."""
    jobs = list(jobs)
    for job in jobs:
        if _rests(job, needs):
            yield from _of_job(job)
    yield from _outside_jobs(root, {job.folder.name for job in jobs})
    used = {Path(str(job.content["encoder"])) for job in jobs if job.content.get("encoder")}
    for path in sorted((root / FOLDER / "converted").glob("*.safetensors")):
        known = path.resolve() in needs.files or path in used or path.resolve() in used
        if not known and _is_own_file(path) and _is_old(path):
            yield Waste(path, "conversion that no job used", _size(path))


def orphaned(jobs: Iterable[StoredJob], planned: set[str], needs: Needs) -> Iterator[Waste]:
    """Yield what is large of finished jobs that are not planned, and all of unfinished ones."""
    for job in jobs:
        if job.key in planned or not _rests(job, needs):
            continue
        files = list(_files(job.folder))
        needed = any(path.resolve() in needs.files for path in files)
        if not (job.folder / RESULT).exists() and not needed:
            size = sum(map(_size, files))
            yield Waste(job.folder, "unfinished job of no suite given", size, job)
            continue
        for path in files:
            name = path.relative_to(job.folder).as_posix()
            if not TELLING.match(name) and path.resolve() not in needs.files:
                yield Waste(path, "files of a job of no suite given", _size(path), job)


def free(one: Waste, root: Path) -> bool:
    """Remove it, unless it has begun to be used or lies outside the store; return whether."""
    if not one.path.parent.resolve().is_relative_to(root.resolve()) or one.path.is_symlink():
        return False
    if one.job is not None and holder(one.job.folder) is not None:
        return False
    if not one.path.is_dir():
        one.path.unlink(missing_ok=True)
        return True
    if one.job is not None and one.path == one.job.folder:
        try:
            return _removed(one.path)
        except Taken:
            return False
    shutil.rmtree(one.path)
    return True


def _removed(folder: Path) -> bool:
    """Remove an unfinished job's folder, unless it has a result by now; return whether.

    From taking the turn on no other process begins an attempt at it. Then it gets another name, so
    that a job which begins anew finds nothing of it. Raises Taken if another process was quicker.
    """
    turn = take(folder / ATTEMPTS, last_number(folder), this_process("gc"))
    if (folder / RESULT).exists():
        turn.end("left alone")
        return False
    gone = folder.with_name(folder.name + GONE)
    if gone.exists():
        shutil.rmtree(gone)
    shutil.rmtree(folder.rename(gone))
    return True


def _rests(job: StoredJob, needs: Needs) -> bool:
    """Return whether nobody is at work on the job and none will come by itself."""
    return job.key not in needs.keys and holder(job.folder) is None


def _of_job(job: StoredJob) -> Iterator[Waste]:
    """Yield what the job itself does not need: half files, and states to continue from."""
    done = job.state.name == "done"
    for path in _files(job.folder):
        if PART.fullmatch(path.name):
            yield Waste(path, "file that was never finished", _size(path), job)
        elif CHECKPOINT.fullmatch(path.name) and done:
            yield Waste(path, "checkpoint of a finished job", _size(path), job)
        elif DAMAGED.fullmatch(path.name):
            whole = any(CHECKPOINT.fullmatch(other.name) for other in path.parent.iterdir())
            if done or whole:  # the only one stays: the job must not begin anew unasked
                yield Waste(path, "damaged checkpoint", _size(path), job)


def _outside_jobs(root: Path, folders: set[str]) -> Iterator[Waste]:
    """Yield half files beside the jobs, and what an ended calibration left."""
    scratch = root / SCRATCH
    if scratch.is_dir() and not scratch.is_symlink():
        files = list(_files(scratch))
        busy = any(holder(path) is not None for path in scratch.iterdir() if path.is_dir())
        if not busy and all(map(_is_old, files)):
            yield Waste(scratch, "left by a calibration", sum(map(_size, files)))
    for folder in sorted(path for path in root.iterdir() if path.name not in folders):
        if _is_rest(folder):
            size = sum(map(_size, _files(folder)))
            yield Waste(folder, "rest of a job that was removed", size)
    for place in (root, root / FOLDER, root / FOLDER / "converted"):
        if place.is_dir() and place.resolve().is_relative_to(root.resolve()):
            for path in sorted(place.iterdir()):
                if PART.fullmatch(path.name) and _is_own_file(path) and _is_old(path):
                    yield Waste(path, "file that was never finished", _size(path))


def _is_rest(folder: Path) -> bool:
    """Return whether a job's folder was removed in part, or never got its job.json."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    if folder.name.endswith(GONE):
        return True
    known = (folder / JOB).exists() or (folder / RESULT).exists()
    begun = (folder / ATTEMPTS).is_dir()
    return begun and not known and holder(folder) is None and _is_old(folder)


def _files(folder: Path) -> Iterator[Path]:
    """Yield the plain files below a folder, without following or naming symbolic links."""
    for place, _, names in os.walk(folder):
        for name in sorted(names):
            path = Path(place, name)
            if _is_own_file(path):
                yield path


def _is_own_file(path: Path) -> bool:
    """Return whether it is a plain file and no symbolic link."""
    return path.is_file() and not path.is_symlink()


def _is_old(path: Path) -> bool:
    """Return whether nobody wrote the file lately."""
    return time.time() - path.stat().st_mtime > AGE_S


def _size(path: Path) -> int:
    """Return the file's bytes; 0 if it is gone."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
