"""Jobs as their folders tell of them, without a suite or any data."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from mae_bench.core.job import Checkpoint, Job, Result, key_of
from mae_bench.core.names import check_own
from mae_bench.core.recipe import Recipe, build
from mae_bench.core.registry import load
from mae_bench.suite.attempts import ATTEMPTS
from mae_bench.suite.encoders import FOLDER
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


def check_store(store: Path) -> None:
    """Raise ValueError with the next step unless the folder is a store: what jobs were run in.

    One of encoders alone counts too, and one in which rests of jobs are all that is left.
    """
    if not store.is_dir():
        raise ValueError(
            f"no store {store}; pass --store DIR, or see what a run would do with "
            "`mae-bench plan --suite S`"
        )
    marks = (f"*/{JOB}", f"*/{ATTEMPTS}", f"{FOLDER}/*.safetensors")
    if not any(path for mark in marks for path in islice(store.glob(mark), 1)):
        raise ValueError(
            f"{store} is no store: no job was ever run in it; pass --store with the folder that "
            "`mae-bench run` filled"
        )


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
