"""How an attempt ended: which error counts, and whether the job is started again.

A rank that is killed breaks the connections of all others, whose errors say nothing. So each rank
leaves its error in the attempt's folder, each node's torchrun how its ranks ended, and the node
that has the attempt decides.
"""

import json
import logging
import re
import signal
import time
import traceback
from pathlib import Path
from typing import Any

from mae_bench.core.files import write_json
from mae_bench.core.turns import BUSY, STOPPING, Turn, newest
from mae_bench.kit.pace import REQUEUE
from mae_bench.suite.attempts import ATTEMPTS, in_vain_text
from mae_bench.suite.store import FAILURE

log = logging.getLogger(__name__)

FAILED = 1
OTHERS_END_S = 45.0
"""Longest wait for what the other nodes leave; torchrun needs up to 30 s to end its ranks."""
POLL_S = 0.1
LOST = re.compile(
    r"Connection (closed|reset|refused|timed out)|Broken pipe|Socket (closed|Timeout)|"
    r"[Tt]imed out waiting|gloo/transport|NCCL (error|timeout)|ncclRemoteError|"
    r"store->get|DistNetworkError|DistStoreError"
)
"""In errors of a rank that another one left."""
WORKER_DIED = re.compile(r"DataLoader worker \(pid.*(killed by signal|exited unexpectedly)")


def ranks_file(turn: Turn, node: int) -> Path:
    """Return where a node's torchrun leaves how its ranks ended (see kit/elastic.py)."""
    return turn.folder / f"ranks-{node}.json"


def error_of(error: Exception) -> dict[str, Any]:
    """Return what is kept of an error, JSON-ready."""
    trace = "".join(traceback.format_exception(error))
    return {"message": message(error), "traceback": trace, "time": time.time()}


def message(error: Exception) -> str:
    """Return the error in one line; of one that a worker process caught, what it caught."""
    lines = str(error).strip().splitlines() or [""]
    return lines[-1] if lines[0].startswith("Caught ") else f"{type(error).__name__}: {lines[0]}"


def passing(error: dict[str, Any]) -> str:
    """Return why an error may not come again: a process was killed; empty if it would."""
    text = f"{error['message']}\n{error['traceback']}"
    if WORKER_DIED.search(text):
        why = error["message"]
        return f"a process that reads images was killed, perhaps for want of memory ({why})"
    return "the connection to another rank was lost" if LOST.search(text) else ""


def verdict(folder: Path, turn: Turn, nodes: int = 1) -> int:
    """Return the exit code of an attempt whose ranks did not all succeed; leave failure.json for 1.

    76: another attempt has the job. 75: it was told to stop, or a process was killed. 1: a rank
    raised an error of its own; of several the first counts.
    """
    if turn.superseded:
        return BUSY
    ended = _ended(turn, nodes)
    errors = sorted((_read(path) for path in turn.folder.glob("error-*.json")), key=_time)
    own = [error for error in errors if error and not passing(error)]
    killed = {
        rank: -end["code"]
        for rank, end in ended.items()
        if end["killed"] and not (own and end["code"] == -signal.SIGABRT)  # since another failed
    }
    if killed:
        who = ", ".join(f"rank {rank} by signal {killed[rank]}" for rank in sorted(killed))
        log.warning("killed: %s; the job is to be started again", who)
    elif own:
        leave_failure(folder, own[0], turn)
        return FAILED
    elif turn.read(STOPPING) is None:
        why = next((passing(error) for error in errors if error), "the ranks ended without a word")
        log.warning("%s; the job is to be started again", why)
    return REQUEUE


def leave_failure(folder: Path, error: dict[str, Any], turn: Turn | None) -> None:
    """Write failure.json: why the job failed, and in which attempt (0: in none of ours)."""
    number = 0 if turn is None else turn.number
    kept = {key: error[key] for key in ("message", "traceback")}
    write_json(folder / FAILURE, {**kept, "attempt": number})


def give_up(folder: Path, turn: Turn) -> None:
    """Let the job fail since its attempts were in vain; this last one only says so."""
    text = in_vain_text(folder)
    log.error("%s", text)
    leave_failure(folder, {"message": text, "traceback": ""}, turn)
    turn.end("failed", code=FAILED)


def leave_crash(folder: Path, code: int) -> str:
    """Write failure.json for a process that ended without one, and return its message."""
    text = f"ended with exit code {code}, see log.txt"
    leave_failure(folder, {"message": text, "traceback": ""}, newest(folder / ATTEMPTS))
    return text


def failed_after(folder: Path, number: int) -> bool:
    """Return whether the job's failure is that of an attempt after that number."""
    failure = _read(folder / FAILURE)
    return failure is not None and int(failure.get("attempt", 0)) > number


def _ended(turn: Turn, nodes: int) -> dict[str, dict[str, Any]]:
    """Return how the ranks of all nodes ended, as far as their torchruns tell in time."""
    limit = time.monotonic() + (OTHERS_END_S if nodes > 1 else 0.0)
    found = [_read(ranks_file(turn, node)) for node in range(nodes)]
    while None in found and time.monotonic() < limit:
        time.sleep(POLL_S)
        found = [_read(ranks_file(turn, node)) for node in range(nodes)]
    return {rank: end for part in found if part for rank, end in part.items()}


def _read(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file, None if there is none."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found


def _time(error: dict[str, Any] | None) -> float:
    """Return when an error came; one that cannot be read last."""
    return float(error["time"]) if error else float("inf")
