"""Jobs as their folders tell of them: found by path, key or words, without a suite or any data."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mae_bench.core.job import Checkpoint, Job, Result, key_of
from mae_bench.core.names import check_own
from mae_bench.core.recipe import Recipe, build
from mae_bench.core.registry import load
from mae_bench.suite.finding import Candidate, the_one
from mae_bench.suite.store import JOB, RESULT, JobState, read_result, state_in
from mae_bench.suite.wording import one_line


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

    @property
    def candidate(self) -> Candidate:
        """The job by what it can be called."""
        return Candidate(self.key, self.name, self.row, self.seed, self.state.name)


def read_job(folder: Path) -> StoredJob:
    """Return the job of a folder; ValueError saying what is wrong if it is none of this program."""
    check_own(folder, "the store")
    try:
        content = json.loads((folder / JOB).read_text())
        key, identity = str(content["key"]), content["identity"]
        recipe = load(str(identity["recipe"]))  # a file may name a recipe, but no code to load
        build(recipe, content["fields"])
        int(identity["version"])
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
    return jobs[the_one(words, [job.candidate for job in jobs.values()], f"the store {store}")]


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


def rebuilt(jobs: Iterable[StoredJob]) -> dict[str, Job]:
    """Return key -> the job as it was planned, of those whose files still give their key.

    Those of another version of their recipe do not. An encoder that no job here made counts as a
    file.
    """
    known = {job.key: job for job in jobs if key_of(job.content["identity"]) == job.key}
    found: dict[str, Job] = {}

    def add(one: StoredJob) -> Job:
        identity = one.content["identity"]
        source: Job | Checkpoint | None = None
        if identity["source"] in known:
            source = add(known[identity["source"]])
        elif identity["source"] is not None:
            source = Checkpoint(Path(str(one.content["encoder"])), identity["source"])
        recipe = build(one.recipe, one.content["fields"])
        job = Job(one.row, recipe, one.seed, identity["data"], source)
        return found.setdefault(one.key, job)

    for one in known.values():
        add(one)
    return {key: job for key, job in found.items() if job.key == key}


def _is_there(path: Path) -> bool:
    """Return whether the file or folder is there; no name is too long or odd to ask for."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
