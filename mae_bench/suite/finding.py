"""Which job is meant by a folder, a key, the beginning of one, or a few words."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mae_bench.core.recipe import unknown
from mae_bench.suite.status import Standing, View, standings, stored
from mae_bench.suite.store import JOB, Store
from mae_bench.suite.stored import StoredJob, read_job, stored_jobs
from mae_bench.suite.wording import one_line

MOST = 12
"""Candidates that an error names."""
SHORTEST = 4
"""Characters of a key that may stand for it among several."""


@dataclass(frozen=True)
class Candidate:
    """A job by what it can be called."""

    key: str
    name: str
    """Of the recipe."""
    row: str
    seed: int
    states: tuple[str, ...]
    """How it stands, and what else that is called."""

    def __str__(self) -> str:
        """Return the job in a line, for people."""
        row = one_line(self.row)
        return f"{self.key}  {row} · {self.name} · seed {self.seed}  ({self.states[0]})"


def find_job(words: Sequence[str], store: Path) -> StoredJob:
    """Return the one job that is meant, by folder, by key or its beginning, or by words.

    Raises ValueError naming candidates if that is none or several.
    """
    if len(words) == 1:
        folder = Path(words[0])
        if _is_there(folder / JOB) or ("/" in words[0] and _is_there(folder)):
            return read_job(folder)
        if "/" in words[0]:
            raise ValueError(f"{words[0]}: no such job folder; pass a key or words of the job")
        if words[0] not in ("", ".", "..") and _is_there(store / words[0]):
            return read_job(store / words[0])
    jobs = {job.key: job for job in stored_jobs(store)[0]}
    found = standings(stored(jobs.values()), View(Store(store), {}, {}))
    return jobs[the_one(words, list(map(candidate_of, found.values())), f"the store {store}")]


def in_store(job: StoredJob, store: Path) -> StoredJob:
    """Return the job if it lies in the store under its own key; ValueError with the next step."""
    if job.folder.resolve() != (store / job.folder.name).resolve():
        parent = job.folder.resolve().parent
        raise ValueError(f"{job.folder} is not in the store {store}; pass --store {parent}")
    if job.folder.resolve().name != job.key:
        raise ValueError(
            f"{job.folder} holds job {one_line(job.key)}, so it is a copy: a job lies in the "
            "folder of its key"
        )
    return job


def candidate_of(one: Standing) -> Candidate:
    """Return a job by what it can be called, given how it stands."""
    entry = one.entry
    begun = one.state not in ("done", "failed", "cancelled", "running") and one.folder.exists()
    also = ("partial",) if begun else ()  # what its files alone say
    return Candidate(entry.key, entry.recipe, entry.row, entry.seed, (one.state, *also))


def the_one(words: Sequence[str], jobs: Sequence[Candidate], where: str) -> str:
    """Return the key of the one job that is meant.

    Every word must be in its key's beginning, row, recipe or state, in whatever case; words that
    are the whole of one of these each beat parts of others, and a row's whole label beats all else.
    Raises ValueError naming candidates.
    """
    text = one_line(" ".join(words))
    if not jobs:
        raise ValueError(f"{text}: no such job folder, and no job in {where}")
    whole = [job for job in jobs if _whole(job, words)]
    found = whole or [job for job in jobs if all(_part(job, word) for word in words)]
    labels = {word.casefold() for word in words}
    found = [job for job in found if job.row.casefold() in labels] or found
    if len(found) == 1:
        return found[0].key
    if found:
        lines = _lines(found)
        raise ValueError(f"{text} may be {len(found)} jobs; add a word or pass a key:\n{lines}")
    known = {job.name for job in jobs} | {job.row for job in jobs} | {job.key for job in jobs}
    missed = next((w for w in words if not any(_part(job, w) for job in jobs)), text)
    if len(known) > MOST:
        known -= {job.key for job in jobs}
    raise ValueError(f"{unknown('job', missed, known)}; in {where}:\n{_lines(jobs)}")


def several(words: Sequence[str], jobs: Sequence[Candidate], where: str) -> list[str]:
    """Return the keys that are meant: a job for each word if all are keys, else one job by words.

    A key may be cut to its first four characters.
    """
    begun = [[job.key for job in jobs if job.key.startswith(word)] for word in words]
    if all(
        len(keys) == 1 and len(word) >= SHORTEST for keys, word in zip(begun, words, strict=True)
    ):
        return list(dict.fromkeys(keys[0] for keys in begun))
    return [the_one(words, jobs, where)]


def _lines(jobs: Sequence[Candidate]) -> str:
    """Return the first jobs, a line each."""
    more = [f"  and {len(jobs) - MOST} more"] if len(jobs) > MOST else []
    return "\n".join([*(f"  {job}" for job in jobs[:MOST]), *more])


def _whole(job: Candidate, words: Sequence[str]) -> bool:
    """Return whether the words are the job's key, recipe, row, seed or state, each another one."""
    names = [job.key, job.name, job.row, f"seed{job.seed}", *job.states]
    left = [name.casefold() for name in names]
    for word in words:
        if word.casefold() not in left:
            return False
        left.remove(word.casefold())
    return True


def _part(job: Candidate, word: str) -> bool:
    """Return whether the job's key begins with the word, or the word is in its names."""
    names = (job.name, job.row, f"seed{job.seed}", *job.states)
    return job.key.startswith(word) or any(word.casefold() in name.casefold() for name in names)


def _is_there(path: Path) -> bool:
    """Return whether the file or folder is there; no name is too long or odd to ask for."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
