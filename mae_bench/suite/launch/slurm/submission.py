"""Submits one job, once: an sbatch whose answer is lost is looked for before it is sent again."""

import re
import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from mae_bench.core.files import write_bytes, write_json
from mae_bench.suite.launch.queue import Unanswered
from mae_bench.suite.launch.slurm.calls import run
from mae_bench.suite.launch.slurm.queue import look
from mae_bench.suite.launch.slurm.script import SBATCH, Asked, script

SUBMISSION = "submission.json"
"""In a job's folder: its id in the queue, and the ids that it waits for; or why it has none."""
LOST_S = 10.0
"""Seconds in which a job whose submission was not answered may still appear in the queue."""
LOOK_S = 1.0
FULL = re.compile(r"MaxSubmitJob|SubmitJobs?Limit|temporarily unable to accept job|MaxJobCount")
"""What sbatch says where a limit on jobs in the queue is reached."""
NUMBER = re.compile(r"^(\d+)(;\S+)?$", re.MULTILINE)
"""The id that sbatch prints, with its cluster; a site's own words may stand before it."""
LOST = re.compile(
    r"[Uu]nable to contact|timed out|[Cc]onnection (refused|reset)|Communication connection|"
    r"Zero Bytes|standby mode|Transport endpoint|Unexpected message"
)
"""What sbatch says where the controller may have heard it or not."""


class Full(Exception):  # noqa: N818 - no fault: there is room later
    """The cluster takes no more jobs now."""


class Rejected(Exception):  # noqa: N818 - SLURM's word for it
    """The cluster will not take this job."""


def submit(asked: Asked, folder: Path, after: Sequence[str], known: set[str]) -> str:
    """Submit the job in a folder and return its id; it starts when those `after` are done.

    `known` are the ids in the queue before. Raises Full, Rejected, or Unanswered where nobody
    knows whether it was accepted: then the queue has to be asked before it is sent again.
    """
    write_bytes(folder / SBATCH, script(asked, folder).encode())
    command = ["sbatch", "--parsable"]
    if after:
        command += [f"--dependency=afterok:{':'.join(after)}", "--kill-on-invalid-dep=yes"]
    try:
        answer = run([*command, SBATCH], folder)
        said, accepted = answer.stderr, answer.returncode == 0
        numbers = NUMBER.findall(answer.stdout) if accepted else []
    except subprocess.TimeoutExpired as error:
        said, accepted, numbers = _text(error.stderr) + " timed out", False, []
    note = {"name": asked.name, "after": list(after), "time": _now()}
    if not accepted:
        try:
            _refuse(said)
        except Rejected as error:
            write_json(folder / SUBMISSION, {"id": "", **note, "refused": str(error)})
            raise
    found = numbers[-1][0] if numbers else _found(_why(said), asked.name, known)
    write_json(folder / SUBMISSION, {"id": found, **note})
    return found


def await_lost() -> None:
    """Return when a job that another process submitted, and did not live to note, is in sight."""
    time.sleep(LOST_S)


def _why(said: str) -> str:
    """Return sbatch's last words."""
    lines = [line.removeprefix("sbatch: error: ") for line in said.strip().splitlines()]
    return "; ".join(lines[-2:]) or "sbatch gave no id and no reason"


def _refuse(said: str) -> None:
    """Raise Full or Rejected where sbatch's words mean that; return where nobody knows."""
    if said.strip() and not LOST.search(said):
        raise Full(_why(said)) if FULL.search(said) else Rejected(_why(said))


def _found(why: str, name: str, known: set[str]) -> str:
    """Return the id of a job that sbatch did not tell; raise Unanswered if there is none."""
    end = time.monotonic() + LOST_S
    while time.monotonic() < end:
        time.sleep(LOOK_S)
        _, store, key = name.split("-", 2)
        new = [one.id for one in look(store, ()) if one.key == key and one.id not in known]
        if new:
            return new[0]
    if FULL.search(why):
        raise Full(why)
    raise Unanswered(f"sbatch: {why}; the job is not in the queue")


def _text(output: str | bytes | None) -> str:
    """Return what a program had written when its time was over."""
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


def _now() -> str:
    """Return date and time."""
    return datetime.now(UTC).isoformat(timespec="seconds")
