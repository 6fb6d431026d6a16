"""The files of a job's folder: written whole or not at all, and appended line by line."""

import json
import math
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from mae_bench.core.turns import check_mine

ENCODER = "encoder.safetensors"
CLASSIFIER = "classifier.safetensors"
"""What fine-tuning leaves for the tasks that come after it."""
METRICS = "metrics.jsonl"
FACTS = "facts.json"


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write the file so that a reader sees the old content or the new, never a part of it."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")  # two processes never share one
    try:
        with part.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:  # a full disk, Ctrl-C: what was written would only fill the disk
        part.unlink(missing_ok=True)
        raise
    commit(part, path)


def update_bytes(path: Path, content: bytes) -> None:
    """Write the file unless it has these bytes already: what is unchanged keeps its time."""
    if not path.is_file() or path.read_bytes() != content:
        write_bytes(path, content)


def commit(part: Path, path: Path) -> None:
    """Rename a finished, fsynced `part` to `path` and make the renaming durable.

    Raises Superseded, and removes a file `part`, if another attempt has the job's folder now.
    """
    try:
        check_mine(path)
    except SystemExit:
        if part.is_file():
            part.unlink()
        raise
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_json(path: Path, value: Any) -> None:
    """Write value as indented JSON, whole or not at all; NaN is refused with ValueError."""
    write_bytes(path, json_text(value).encode())


def json_text(value: Any) -> str:
    """Return value as indented JSON; NaN is refused with ValueError."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def append_metrics(out: Path, *, step: int, steps: int, **values: float | str) -> None:
    """Append one line to metrics.jsonl: `step` of `steps` is done, with values; drives progress.

    Raises Superseded if another attempt has the job's folder now.
    """
    check_mine(out)
    line = {"step": step, "steps": steps, "time": round(time.time(), 3), **values}
    with (out / METRICS).open("a") as stream:
        stream.write(json.dumps(line) + "\n")


def last_progress(out: Path) -> dict[str, Any] | None:
    """Return the newest whole line of metrics.jsonl, or None; reads only the file's end."""
    lines = recent_progress(out)
    return lines[-1] if lines else None


def recent_progress(out: Path) -> list[dict[str, Any]]:
    """Return the last whole lines of metrics.jsonl, oldest first: what its last 4 KiB hold.

    Lines that no recipe of ours wrote are left out.
    """
    try:
        with (out / METRICS).open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - 4096))
            lines = stream.read().split(b"\n")[:-1]
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return []
    found = []
    for line in lines:
        with suppress(ValueError):
            found.append(json.loads(line))
    return [line for line in found if _is_progress(line)]


def _is_progress(line: Any) -> bool:
    """Return whether steps and time of a line, if it has them, are finite numbers."""
    if not isinstance(line, dict):
        return False
    values = [line[name] for name in ("step", "steps", "time") if name in line]
    return all(isinstance(value, int | float) and math.isfinite(value) for value in values)


def record_facts(out: Path, **facts: Any) -> None:
    """Merge facts into facts.json: what a recipe wants kept in its result's provenance."""
    path = out / FACTS
    known = json.loads(path.read_text()) if path.exists() else {}
    write_json(path, known | facts)
