"""Where jobs live: a folder each, whose state is read off its files and never stored."""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from mae_bench.core.compute import Compute, write_compute
from mae_bench.core.files import CLASSIFIER, ENCODER, write_json
from mae_bench.core.job import Checkpoint, Job, Result, key_of
from mae_bench.core.names import check_own
from mae_bench.core.recipe import Metric, fields_of
from mae_bench.core.registry import OBJECTIVES, TASKS
from mae_bench.suite.attempts import holder, last_number

SCHEMA = 2
"""Of a result.json; results of before there were seals have schema 1."""
JOB, RESULT, FAILURE, LOG = "job.json", "result.json", "failure.json", "log.txt"
CANCELLED = "cancelled.json"
"""In a job's folder: a person ended it, so that only who asks for it anew starts it again."""
SEAL = "seal"
"""In result.json: the SHA-256 of all the rest, which tells a result that was changed later."""

StateName = Literal["done", "failed", "cancelled", "running", "partial", "new"]


@dataclass(frozen=True)
class JobState:
    """What the files of a job's folder say."""

    name: StateName
    reason: str = ""
    """Why it failed, who runs or cancelled it, or why its result.json is not believed."""


@dataclass(frozen=True)
class Store:
    """A folder of job folders, each named by the job's key."""

    root: Path

    def dir(self, job: Job) -> Path:
        """Return the job's own folder, which may not exist yet."""
        return self.root / job.key

    def encoder(self, job: Job) -> Path | None:
        """Return the encoder or classifier file that the job starts from, None for pretraining."""
        if isinstance(job.source, Checkpoint):
            return job.source.path.resolve()
        if job.source is None:
            return None
        return self.dir(job.source).resolve() / (CLASSIFIER if job.recipe.after else ENCODER)

    def prepare(
        self,
        job: Job,
        data: Path | None,
        compute: Compute | None = None,
        before: int | None = None,
    ) -> Path:
        """Write job.json and compute.json, clear an earlier failure and return the folder.

        A cancellation stays: who asks for the job anew forgets it before looking at the job.

        Whoever asks for a job anew gives it all its attempts again: only those after number
        `before`, by default the newest there is, count as made in vain. Raises ValueError if the
        folder is a symbolic link, which could lead out of the store.
        """
        folder = self.dir(job)
        check_own(folder, "the store")
        folder.mkdir(parents=True, exist_ok=True)
        encoder = self.encoder(job)
        write_json(
            folder / JOB,
            {
                "key": job.key,
                "row": job.row,
                "identity": job.identity,
                "target": (OBJECTIVES | TASKS)[job.recipe.name],
                "fields": fields_of(job.recipe),
                "seed": job.seed,
                "data": None if data is None else str(data.resolve()),
                "encoder": None if encoder is None else str(encoder),
                "attempts_before": last_number(folder) if before is None else before,
            },
        )
        write_compute(folder, compute or Compute())
        (folder / FAILURE).unlink(missing_ok=True)
        return folder

    def result(self, job: Job) -> Result | None:
        """Return the job's result, or None if there is none that can be believed."""
        return read_result(self.dir(job) / RESULT, job.key, job.recipe.metrics)

    def state(self, job: Job) -> JobState:
        """Return the state that the files show now."""
        return state_in(self.dir(job), job.key, job.recipe.metrics)


def forgive(folder: Path) -> None:
    """Remove what keeps a job from being started again: its failure and its cancellation."""
    for name in (FAILURE, CANCELLED):
        (folder / name).unlink(missing_ok=True)


def state_in(folder: Path, key: str, metrics: tuple[Metric, ...]) -> JobState:
    """Return the state that the files of a job's folder show now."""
    try:
        believed_result(folder / RESULT, key, metrics)
        return JobState("done")
    except OSError:
        unusable = ""
    except ValueError as error:
        unusable = f"its result.json is not believed: {error}"
    if not folder.is_dir():
        return JobState("new")
    owner = holder(folder)
    if owner is not None:
        return JobState("running", str(owner))
    names: tuple[tuple[StateName, str], ...] = (("cancelled", CANCELLED), ("failed", FAILURE))
    for state, name in names:
        try:
            return JobState(state, str(json.loads((folder / name).read_text())["message"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return JobState("partial", unusable)


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a result.json with its seal."""
    return content | {SEAL: _seal(json.loads(json.dumps(content)))}


def is_sealed(path: Path) -> bool:
    """Return whether the result in the file, which is believed, has a seal that says so."""
    return SEAL in json.loads(path.read_text())


def read_result(path: Path, key: str, metrics: tuple[Metric, ...]) -> Result | None:
    """Return the result in the file, None if there is none that can be believed."""
    try:
        return believed_result(path, key, metrics)
    except (OSError, ValueError):
        return None


def believed_result(path: Path, key: str, metrics: tuple[Metric, ...]) -> Result:
    """Return the result in the file if it is whole, of that key, unchanged, its metrics in range.

    Raises OSError without a file, and ValueError saying why what is there is not believed. A result
    of before there were seals has none; what it says that was run must give its key. A file is read
    once and again when it was replaced; what is returned is shared, so nobody may change it.
    """
    now = path.stat()
    return _believed(
        path, key, metrics, (now.st_mtime_ns, now.st_ctime_ns, now.st_size, now.st_ino)
    )


@lru_cache(maxsize=8192)
def _believed(
    path: Path, key: str, metrics: tuple[Metric, ...], version: tuple[int, ...]
) -> Result:
    """Return the result in the file, of which `version` tells whether it was replaced."""
    text = path.read_text()
    try:
        content: dict[str, Any] = json.loads(text)
        if content["schema"] not in (1, SCHEMA):
            raise ValueError(
                f"it has schema {content['schema']}, this version reads 1 and {SCHEMA}"
            )
        if content["key"] != key:
            raise ValueError(f"it is of job {content['key']}, not of {key}")
        check_metrics(content["metrics"], metrics)
        unsealed = content["schema"] == 1 and SEAL not in content
        if not unsealed and content.get(SEAL) != _seal(content):
            raise ValueError("it was changed after it was written")
        ran = content["provenance"].get("identity")
        if ran is not None and key_of(ran) != key:
            raise ValueError(f"what it says that was run is job {key_of(ran)}, not {key}")
        stamp = content.get("fidelity", [])
        return Result(
            key,
            content["metrics"],
            content["seconds"],
            content["provenance"],
            stamp if isinstance(stamp, str) else tuple(stamp),
        )
    except json.JSONDecodeError as error:
        raise ValueError("it is not whole JSON") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it lacks what a result has ({error!r})") from error


def _seal(content: dict[str, Any]) -> str:
    """Return the SHA-256 of a result's canonical JSON without its seal."""
    rest = {name: value for name, value in content.items() if name != SEAL}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def check_metrics(values: dict[str, float], metrics: tuple[Metric, ...]) -> None:
    """Raise ValueError unless exactly the declared metrics are there, finite and in range.

    Optional ones may be absent, but not all of them.
    """
    known, found = {metric.name for metric in metrics}, set(values)
    needed = {metric.name for metric in metrics if not metric.optional}
    if not needed <= found <= known or bool(found) != bool(known):
        some = sorted(known - needed)
        may = f" and may be {some}" if some else ""
        raise ValueError(f"metrics must be {sorted(needed)}{may}, got {sorted(found)}")
    for metric in metrics:
        if metric.name in values:
            metric.check(values[metric.name])
