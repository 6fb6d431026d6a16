"""The processes of jobs on this machine: started, and told to save themselves and end."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from mae_bench.core.job import Job
from mae_bench.core.parent import PARENT
from mae_bench.core.turns import MINE, Turn
from mae_bench.suite.attempts import disown
from mae_bench.suite.display import Display
from mae_bench.suite.store import LOG

GRACE_S = 60.0
"""Seconds that a job has to save itself when the run ends before it."""


@dataclass
class Process:
    """A running job."""

    job: Job
    popen: "subprocess.Popen[bytes]"
    turn: Turn
    started: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Share:
    """What of this machine a job may use."""

    threads: int
    visible: str | None
    """CUDA_VISIBLE_DEVICES; None where the machine has no GPUs."""


def start(job: Job, turn: Turn, python: Path, share: Share) -> Process:
    """Start the job's process in a session of its own, its output appended to log.txt."""
    folder = turn.folder.parents[1]
    environment = {"OMP_NUM_THREADS": str(share.threads), **os.environ}
    environment |= {PARENT: str(os.getpid()), MINE: str(turn.folder.resolve())}
    if share.visible is not None:
        environment["CUDA_VISIBLE_DEVICES"] = share.visible
    with (folder / LOG).open("ab") as log:
        popen = subprocess.Popen(
            [str(python), "-m", "mae_bench.suite.execute", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    return Process(job, popen, turn)


def end_all(processes: Sequence[Process], display: Display) -> None:
    """Ask every job to save and end, wait, and kill those that do not; no signal shortens that.

    What cannot be said, since who reads it is gone, or noted, on a full disk, is left out.
    """
    with _deaf():
        for process in processes:
            process.popen.send_signal(signal.SIGTERM)
        if processes:
            with suppress(OSError):
                display.saving([process.job for process in processes], GRACE_S)
        deadline = time.monotonic() + GRACE_S
        for process in processes:
            try:
                process.popen.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.popen.kill()
                process.popen.wait()
            with suppress(OSError):
                disown(process.turn, process.popen.returncode)


@contextmanager
def _deaf() -> Iterator[None]:
    """Ignore further signals for the time of the block, so that jobs can save themselves."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2)
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
