"""What results were made with, and where that is not the same for a whole table.

The policy: a recipe's `version` is part of a job's key, so numbers of another are not taken. All
else, such as the versions of libraries and the kind of GPU, is provenance: it makes no other job,
but a table of numbers that differ in it says so.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mae_bench.core.job import Job, Result

PACKAGES = ("torch", "timm", "sal-detectron2", "detectron2", "mmsegmentation")
"""Those that the first sentence names."""
DEVICE, REVISION = "device", "revision"
MOST = 6
"""Places that one value is named with."""

Made = Sequence[tuple[Job, Result]]


def surroundings(made: Made) -> list[str]:
    """Return what the results were made with: device, versions, revision; all, where they differ.

    A sentence for each thing that is not the same for all jobs that have it says which rows differ.
    """
    found = {name: _values(made, name) for name in _names(made)}
    parts = sorted(set(found.get(DEVICE, {}).values()))
    for name in PACKAGES:
        if name in found:
            parts.append(f"{name} {' and '.join(sorted(set(found[name].values())))}")
    revisions = sorted(set(found.get(REVISION, {}).values()))
    parts += [f"revision {' and '.join(revisions)}"] if revisions else []
    return [*([f"Made with {', '.join(parts)}."] if parts else []), *mixed(made)]


def mixed(made: Made) -> list[str]:
    """Return a sentence for each thing that differs: who has which value, most jobs' value last."""
    jobs = {job.key: job for job, _ in made}
    sentences = []
    for name in _names(made):
        values = _values(made, name)
        counts = Counter(values.values())
        if len(counts) < 2:
            continue
        ordered = sorted(counts, key=lambda value: (counts[value], value))
        texts = [
            f"{value} for {_places([jobs[k] for k in values if values[k] == value], jobs.values())}"
            for value in ordered[:-1]
        ]
        sentences.append(f"Mixed versions: {name} {', '.join(texts)}, {ordered[-1]} elsewhere.")
    return sentences


def _names(made: Made) -> Iterator[str]:
    """Yield the things that provenance tells: device, revision and each package."""
    yield DEVICE
    yield REVISION
    yield from sorted({name for _, result in made for name in _versions(result)})


def _values(made: Made, name: str) -> dict[str, str]:
    """Return the value of that thing by job key, of the jobs that have one."""
    values: dict[str, Any] = {}
    for job, result in made:
        kinds = {DEVICE: result.provenance.get("device"), REVISION: result.provenance.get("git")}
        values[job.key] = kinds[name] if name in kinds else _versions(result).get(name)
    return {key: str(value) for key, value in values.items() if value}


def _versions(result: Result) -> Mapping[str, str]:
    """Return the versions of packages that a result notes."""
    versions = result.provenance.get("versions", {})
    return versions if isinstance(versions, dict) else {}


def _places(those: Sequence[Job], every: Iterable[Job]) -> str:
    """Return whose jobs these are: a row alone where all its jobs are among them."""
    sizes = Counter(job.row for job in every)
    rows: dict[str, list[Job]] = defaultdict(list)
    for job in those:
        rows[job.row].append(job)
    names = []
    for row, jobs in rows.items():
        tasks = ", ".join(f"{job.recipe.name} seed {job.seed}" for job in jobs[:MOST])
        more = f" and {len(jobs) - MOST} more" if len(jobs) > MOST else ""
        names.append(row if len(jobs) == sizes[row] else f"{row} ({tasks}{more})")
    more = f" and {len(names) - MOST} more rows" if len(names) > MOST else ""
    return ", ".join(names[:MOST]) + more
