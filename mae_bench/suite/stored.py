"""Jobs as their folders tell of them: found by path, key or words, without a suite or any data."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mae_bench.core.job import Result
from mae_bench.core.recipe import Recipe, build, unknown
from mae_bench.core.registry import load
from mae_bench.suite.store import JOB, RESULT, JobState, check_own, read_result, state_in
from mae_bench.suite.wording import one_line

MOST = 12
"""Candidates that an error names."""


@dataclass(frozen=True)
class StoredJob:
    """One job's folder, read now."""

    folder: Path
    key: str
    name: str
    """Of the recipe."""
    row: str
    seed: int
    content: dict[str, Any]
    """All of job.json."""
    recipe: type[Recipe]
    state: JobState
    result: Result | None

    def __str__(self) -> str:
        """Return the job in a line, for people."""
        row = one_line(self.row)
        return f"{self.key}  {row} · {self.name} · seed {self.seed}  ({self.state.name})"


def read_job(folder: Path) -> StoredJob:
    """Return the job of a folder; ValueError saying what is wrong if it is none of this program."""
    check_own(folder)
    try:
        content = json.loads((folder / JOB).read_text())
        key, identity = str(content["key"]), content["identity"]
        recipe = load(str(identity["recipe"]))  # a file may name a recipe, but no code to load
        build(recipe, content["fields"])
        about = (str(identity["recipe"]), str(content["row"]), int(content["seed"]))
    except FileNotFoundError as error:
        raise ValueError(f"{folder} is no job's folder: it has no {JOB}") from error
    except (OSError, ValueError, KeyError, TypeError, ImportError, AttributeError) as error:
        raise ValueError(f"{folder / JOB} cannot be understood: {error!r}") from error
    state = state_in(folder, key, recipe.metrics)
    result = read_result(folder / RESULT, key, recipe.metrics)
    return StoredJob(folder, key, *about, content, recipe, state, result)


def find_job(words: Sequence[str], store: Path) -> StoredJob:
    """Return the one job that is meant, by folder, by key or its beginning, or by words.

    Every word must be in its key's beginning, row, recipe or state, in whatever case; a word that
    is the whole of a recipe or row beats parts of others. Raises ValueError naming candidates.
    """
    if len(words) == 1:
        folder = Path(words[0])
        if (folder / JOB).exists() or ("/" in words[0] and folder.is_dir()):
            return read_job(folder)
        if "/" in words[0]:
            raise ValueError(f"{words[0]}: no such job folder; pass a key or words of the job")
        if words[0] not in ("", ".", "..") and (store / words[0]).is_dir():
            return read_job(store / words[0])
    jobs, text = stored_jobs(store)[0], " ".join(words)
    if not jobs:
        raise ValueError(f"{text}: no such job folder, and no job in the store {store}")
    whole = [job for job in jobs if all(_whole(job, word) for word in words)]
    found = whole or [job for job in jobs if all(_part(job, word) for word in words)]
    if len(found) == 1:
        return found[0]
    if found:
        lines = _lines(found)
        raise ValueError(f"{text} may be {len(found)} jobs; add a word or pass a key:\n{lines}")
    known = {job.name for job in jobs} | {job.row for job in jobs} | {job.key for job in jobs}
    missed = next((w for w in words if not any(_part(job, w) for job in jobs)), text)
    if len(known) > MOST:
        known -= {job.key for job in jobs}
    raise ValueError(f"{unknown('job', missed, known)}; in the store {store}:\n{_lines(jobs)}")


def stored_jobs(store: Path) -> tuple[list[StoredJob], list[str]]:
    """Return the store's jobs by row and recipe, and why other folders with a job.json are none.

    A job lies in the folder of its key: a copy under another name counts nowhere.
    """
    found, strays = [], []
    for path in sorted(store.glob(f"*/{JOB}")):
        try:
            job = read_job(path.parent)
        except ValueError as error:
            strays.append(str(error))
            continue
        if job.key == path.parent.name:
            found.append(job)
        else:
            strays.append(f"{path.parent} is named otherwise than its job, {one_line(job.key)}")
    return sorted(found, key=lambda job: (job.row, job.name, job.seed, job.key)), strays


def _lines(jobs: Sequence[StoredJob]) -> str:
    """Return the first jobs, a line each."""
    more = [f"  and {len(jobs) - MOST} more"] if len(jobs) > MOST else []
    return "\n".join([*(f"  {job}" for job in jobs[:MOST]), *more])


def _whole(job: StoredJob, word: str) -> bool:
    """Return whether the word is the job's key, recipe, row, seed or state."""
    names = (job.key, job.name, job.row, f"seed{job.seed}", job.state.name)
    return word.casefold() in [name.casefold() for name in names]


def _part(job: StoredJob, word: str) -> bool:
    """Return whether the job's key begins with the word, or the word is in its names."""
    names = (job.name, job.row, f"seed{job.seed}", job.state.name)
    return job.key.startswith(word) or any(word.casefold() in name.casefold() for name in names)
