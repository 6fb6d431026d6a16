"""Whether the results of a store are as jobs left them: whole, unchanged, still asked for."""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from mae_bench.core.files import CLASSIFIER, ENCODER
from mae_bench.core.job import key_of
from mae_bench.core.recipe import build, hashed_fields_of
from mae_bench.suite.provenance import NEEDED
from mae_bench.suite.store import JOB, RESULT, believed_result, is_sealed
from mae_bench.suite.stored import StoredJob, read_job

Kind = Literal["wrong", "incomplete", "orphaned"]
AGAIN = "move the folder away and run its suite again"
"""What to do about a result that nothing speaks for any more."""


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it should be with a result."""

    folder: str
    kind: Kind
    """wrong: edited or broken; incomplete: it does not say how it came about; orphaned: sound, but
    of no suite or version that is asked for."""
    what: str
    next_step: str


def folders_with_results(store: Path) -> list[Path]:
    """Return the folders of a store that have a result."""
    return sorted(path.parent for path in store.glob(f"*/{RESULT}"))


def problems(folder: Path, planned: Collection[str] | None = None) -> Iterator[Problem]:
    """Yield what is wrong with the result in a job's folder, without what takes arithmetic.

    `planned` holds the keys that suites ask for; None where none is named, and then only another
    version of the recipe makes an orphan.
    """
    name = folder.name
    try:
        job = read_job(folder)
    except ValueError as error:
        yield Problem(name, "wrong", str(error), AGAIN)
        return
    for what in (found := list(_contradictions(job))):
        yield Problem(name, "wrong", what, AGAIN)
    try:
        result = believed_result(folder / RESULT, name, job.recipe.metrics)
    except (OSError, ValueError) as error:
        yield Problem(name, "wrong", f"its {RESULT} is not believed: {error}", AGAIN)
        return
    absent = [one for one in NEEDED if one not in result.provenance]
    if absent:
        what = f"its provenance lacks {', '.join(absent)}"
        yield Problem(name, "incomplete", what, "trust it only if you know where it is from")
    if not is_sealed(folder / RESULT):
        what = f"its {RESULT} has no seal, so that a change of it would not show"
        yield Problem(name, "incomplete", what, "trust it only if you know where it is from")
    if not found:  # an identity that was changed says nothing of source or version
        yield from _of_encoder(job, result.provenance)
        yield from _orphaned(job, planned)


def _contradictions(job: StoredJob) -> Iterator[str]:
    """Yield where the key, the identity and the fields of a job contradict each other."""
    identity = job.content["identity"]
    if not job.key == job.folder.name == key_of(identity):
        yield (
            f"its {JOB} says job {job.key}, its identity gives {key_of(identity)}: neither may "
            "differ from the folder's name"
        )
    if identity["version"] == job.recipe.version:
        fields = hashed_fields_of(build(job.recipe, job.content["fields"]))
        if fields != identity.get("fields"):
            yield f"the fields in its {JOB} are not those of its identity"
    if job.seed != identity.get("seed"):
        yield f"the seed in its {JOB} is {job.seed}, in its identity {identity.get('seed')}"


def _of_encoder(job: StoredJob, provenance: dict[str, Any]) -> Iterator[Problem]:
    """Yield that the encoder here is not the one that was measured or made; one not here may be."""
    noted = provenance.get("facts", {}).get("encoder", {}).get("sha256")
    if not noted:
        return
    source = job.content["identity"]["source"]
    if source is not None and not (job.folder.parent / source).is_dir():
        if len(source) == len(noted) and source != noted:
            what = f"it measured the encoder {noted[:16]}, and is the job of {source[:16]}"
            yield Problem(job.folder.name, "wrong", what, AGAIN)
        return
    file = CLASSIFIER if job.recipe.after else ENCODER
    path = (job.folder if source is None else job.folder.parent / source) / file
    if path.is_file() and (found := _sha256(path, path.stat().st_mtime_ns)) != noted:
        what = f"{path.parent.name}/{file} is {found[:16]}, the result is of {noted[:16]}"
        yield Problem(job.folder.name, "wrong", what, AGAIN)


def _orphaned(job: StoredJob, planned: Collection[str] | None) -> Iterator[Problem]:
    """Yield why nobody asks for the job any more."""
    version = job.content["identity"]["version"]
    if version != job.recipe.version:
        what = f"{job.name} has version {job.recipe.version} here, it was made by version {version}"
    elif planned is not None and job.key not in planned:
        what = "no suite given asks for it"
    else:
        return
    step = "no table shows it; `mae-bench gc --suite S --orphans` frees what is large of it"
    yield Problem(job.folder.name, "orphaned", what, step)


@lru_cache(maxsize=1024)
def _sha256(path: Path, version: int) -> str:
    """Return the SHA-256 of a file, of which `version` tells whether it was replaced."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
