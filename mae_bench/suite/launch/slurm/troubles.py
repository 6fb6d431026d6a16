"""What kept a store's jobs from the queue, or took them out of it: read off what runs left."""

import json
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from mae_bench.suite.launch.slurm.check import FOLDER
from mae_bench.suite.launch.slurm.ends import last_words
from mae_bench.suite.launch.slurm.submission import SUBMISSION
from mae_bench.suite.launch.slurm.worker import FOUND
from mae_bench.suite.store import LOG


def troubles(root: Path, keys: Iterable[str], queue: Collection[str]) -> list[str]:
    """Return a line for each trouble with those of the store's jobs that are not done.

    `queue` are the keys that wait or run, of looks at workers too.
    """
    refused = Counter(
        str(note["refused"])
        for key in keys
        if (note := _read(root / key / SUBMISSION)).get("refused") and key not in queue
    )
    lines = [
        f"sbatch refused {'1 job' if count == 1 else f'{count} jobs'}: {why}"
        for why, count in refused.items()
    ]
    return lines + _of_worker(root / FOLDER, queue)


def _of_worker(folder: Path, queue: Collection[str]) -> list[str]:
    """Return what the last look at a worker found wrong, or why it found nothing."""
    looks = [(path.stat().st_mtime, path.parent) for path in folder.glob(f"*/{SUBMISSION}")]
    if not looks:
        return []
    _, last = max(looks)
    note, found = _read(last / SUBMISSION), _read(last / FOUND)
    if note.get("refused"):
        return [f"sbatch refused the look at a worker: {note['refused']}"]
    if not found and last.name not in queue:
        words = last_words(last)
        why = f"it ended without an answer{f'; its last words: {words}' if words else ''}"
    else:
        why = "; ".join(found.get("problems", []))
    more = f"; see {last / LOG}" if (last / LOG).exists() else ""
    return [f"a worker is not as it should be: {why}{more}"] if why else []


def _read(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file, empty without one."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found
