"""Tables as they are: made only where anything that they are made from differs from the last time.

Making them takes pandas, whose import alone takes longer than all else of a cached run.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from mae_bench.core.files import write_json
from mae_bench.core.job import Job
from mae_bench.report.imported import files
from mae_bench.suite.plan import Plan
from mae_bench.suite.store import RESULT, Store
from mae_bench.suite.tiers import other_tiers

MEMORY = "tables"
"""Folder in the store: what each folder of tables was made from."""
FRONT_PAGE = "README.md"
"""Beside the folders of all suites' tables."""
CODE = [Path(__file__).parents[2] / name for name in ("mae_bench", "pretrain", "transfer")]
DECIDING = (".py", ".csv", ".css", ".js", ".html")
"""Endings of what the package has that tables depend on."""
KEPT = ("figures/*.png", "*.parquet", "metrics.jsonl")
"""What of a finished job's folder tables show or are computed from, beside its result."""


@dataclass(frozen=True)
class Report:
    """What was written, and what of it a terminal shows."""

    paths: tuple[Path, ...]
    main_table: str
    """Aligned text, and what its numbers do not have in common."""


def report_of(plan: Plan, store: Store, folder: Path, blocked: Mapping[str, str]) -> Report:
    """Return the suite's tables in the folder, written unless they are there just so.

    They are if plan, results, states, pictures and code are those that they were made from, and
    every file has the bytes that it was written with.
    """
    memory = store.root / MEMORY / f"{_hash(str(folder.resolve()).encode())[:16]}.json"
    made_from = all_that_decides(plan, store, blocked)
    kept = remembered(memory, made_from, folder)
    if kept is not None:
        return kept
    from mae_bench.report.write import write_report

    report = write_report(plan, store, folder, blocked)
    written = {str(path.relative_to(folder)): _hash(path.read_bytes()) for path in report.paths}
    content = {"made_from": made_from, "files": written, "main_table": report.main_table}
    with contextlib.suppress(OSError):  # then they are made again the next time
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_json(memory, content)
    return report


def remembered(memory: Path, made_from: str, folder: Path) -> Report | None:
    """Return the report if it is there as it was made from that, None if it is not."""
    try:
        content = json.loads(memory.read_text())
        if content["made_from"] != made_from or not (folder.parent / FRONT_PAGE).is_file():
            return None
        paths = tuple(folder / name for name in content["files"])
        hashes = [_hash(path.read_bytes()) for path in paths]
        if hashes != list(content["files"].values()):
            return None
        return Report(paths, str(content["main_table"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def all_that_decides(plan: Plan, store: Store, blocked: Mapping[str, str]) -> str:
    """Return a hash of all that decides the tables."""
    digest = hashlib.sha256()
    for part in _parts(plan, store, blocked):
        digest.update(repr(part).encode() + b"\0")
    return digest.hexdigest()


def _parts(plan: Plan, store: Store, blocked: Mapping[str, str]) -> Iterator[Any]:
    """Yield what decides the tables: code, suite, cells, and what each job's folder shows."""
    yield [
        _version(path)
        for package in CODE
        for path in sorted(package.rglob("*"))
        if path.suffix in DECIDING
    ]
    yield [(name, metadata.version(name)) for name in ("pandas", "matplotlib", "pyarrow", "scipy")]
    yield [_version(path) for path in files(store.root)]
    yield plan.suite
    yield [(cell.row, cell.task, [job.key for job in cell.jobs]) for cell in plan.cells]
    yield sorted(blocked.items())
    yield [(other.name, _results(other, store)) for other in other_tiers(plan)]
    for job in plan.jobs:
        yield job.key, job.row, job.seed, job.recipe
        yield _outcome(job, store)


def _results(plan: Plan, store: Store) -> list[tuple[str, int, int]]:
    """Return what changes with the results of the plan's jobs."""
    paths = [store.dir(job) / RESULT for job in plan.jobs]
    return [_version(path) for path in paths if path.is_file()]


def _outcome(job: Job, store: Store) -> Any:
    """Return the job's result and what it left that tables are made from, or why there is none."""
    result = store.result(job)
    if result is None:
        return store.state(job)
    left = [path for pattern in KEPT for path in sorted(store.dir(job).glob(pattern))]
    return result, [_version(path) for path in left if path.is_file()]


def _version(path: Path) -> tuple[str, int, int]:
    """Return what changes when the file does."""
    now = path.stat()
    return str(path), now.st_mtime_ns, now.st_size


def _hash(content: bytes) -> str:
    """Return the SHA-256 of the bytes."""
    return hashlib.sha256(content).hexdigest()
