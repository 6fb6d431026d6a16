"""Starts the processes that tell trackers of a job, and parts from them; none can hurt the job."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from mae_bench.core.parent import PARENT
from mae_bench.core.turns import Superseded

log = logging.getLogger(__name__)

TOLD = "trackers"
"""Folder in the job's: how far each tracker was told, what it printed, what it keeps itself."""
PARTING_S = 8.0
"""Seconds that all trackers together have at a job's end to send what is left."""
CHECK_S = 60.0
PROBE = """
import json, sys
from mae_bench.core.tracker import problem
print(json.dumps([problem(name) for name in sys.argv[1:]]))
"""
Process = subprocess.Popen[bytes]


@contextmanager
def tracked(folder: Path, names: Sequence[str]) -> Iterator[None]:
    """Have trackers follow the job in a folder for the time of the block, and at most PARTING_S
    longer; what goes wrong with them is a warning.
    """
    processes = {name: one for name in names if (one := _started(folder, name)) is not None}
    try:
        yield
    except Superseded:  # the newer attempt has trackers of its own
        _end(processes.values())
        raise
    finally:
        _part(folder, processes)


def send(folder: Path, name: str) -> bool:
    """Tell a tracker all of a job that nobody is at work on; return whether it took it."""
    process = _started(folder, name)
    if process is None:
        return False
    try:
        process.communicate(b"over\n")
    finally:
        _end([process])
    return process.returncode == 0


def output_file(folder: Path, name: str) -> Path:
    """Return the file that holds what a tracker of the job printed."""
    return folder / TOLD / f"{name}.txt"


@cache
def problems(names: tuple[str, ...], python: Path) -> list[str]:
    """Return why trackers cannot be used by that interpreter, with the next step for each.

    They are looked up in a process of their own, since that runs code of other packages.
    """
    try:
        answer = subprocess.run(
            [python, "-c", PROBE, *names],
            capture_output=True,
            text=True,
            check=True,
            timeout=CHECK_S,
            stdin=subprocess.DEVNULL,
        )
        found: list[str] = json.loads(answer.stdout.splitlines()[-1])
    except (OSError, ValueError, IndexError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        return [
            f"trackers {', '.join(names)}: {python} cannot look them up "
            f"({said.strip().splitlines()[-1]}); leave out --track, or mend their packages"
        ]
    return [line for line in found if line]


def _started(folder: Path, name: str) -> Process | None:
    """Return the process that tells one tracker of the job; None after warning why there is none.

    It has a session of its own, with what the tracker's package starts, so that all can be ended.
    """
    environment = os.environ | {PARENT: str(os.getpid()), "OMP_NUM_THREADS": "1"}
    output = output_file(folder, name)
    try:
        output.parent.mkdir(exist_ok=True)
        with output.open("ab") as stream:
            return subprocess.Popen(
                [sys.executable, "-m", "mae_bench.suite.track", folder, name],
                stdin=subprocess.PIPE,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
    except OSError as error:
        log.warning("tracker %s is not told of this job: %s", name, error)
        return None


def _part(folder: Path, processes: dict[str, Process]) -> None:
    """Tell the trackers that the attempt is over, give them a little time, and end the rest.

    A signal that comes meanwhile ends them at once and does nothing else: the attempt is over.
    """
    for process in processes.values():
        assert process.stdin is not None
        with suppress(OSError):  # it has ended
            process.stdin.write(b"over\n")
            process.stdin.close()
    deadline = time.monotonic() + PARTING_S
    with suppress(SystemExit, KeyboardInterrupt, subprocess.TimeoutExpired):
        for process in processes.values():
            process.wait(max(0.0, deadline - time.monotonic()))
    codes = {name: process.poll() for name, process in processes.items()}
    _end(processes.values())
    for name, code in codes.items():
        if code != 0:
            how = "it did not end in time" if code is None else f"it ended with code {code}"
            log.warning(
                "tracker %s was not told all (%s, see %s): mae-bench track %s --to %s tells it",
                *(name, how, output_file(folder, name).relative_to(folder), folder.name, name),
            )


def _end(processes: Iterable[Process]) -> None:
    """Kill those that are still there, with what they started."""
    for process in processes:
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
