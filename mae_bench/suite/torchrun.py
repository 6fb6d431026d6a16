"""Runs one job on several ranks of this machine through torchrun."""

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from mae_bench.core.turns import mine, note_stop
from mae_bench.suite.verdict import ranks_file, verdict

PR_SET_PDEATHSIG = 1


def run_ranks(folder: Path, num_ranks: int) -> int:
    """Run the job in folder on that many ranks; return its exit code: 0, 1, or 75 to start again.

    That is 75 where the ranks were told to stop, and where one ended without saying why.

    A signal to this process goes to the ranks themselves, which save together: torchrun would
    give them 30 seconds for it. No rank outlives this process.
    """
    cores = len(os.sched_getaffinity(0))
    threads = int(os.environ.get("OMP_NUM_THREADS", cores))
    turn = mine()
    assert turn is not None, "ranks belong to an attempt"
    command = [sys.executable, "-m", "mae_bench.kit.elastic", str(ranks_file(turn, 0))]
    command += ["--standalone"]
    command += ["--local-addr", "127.0.0.1", "--nproc-per-node", str(num_ranks)]
    command += ["-m", "mae_bench.suite.execute", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": str(max(1, threads // num_ranks))}
    with subprocess.Popen(
        command,
        env=environment,
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - this process has one thread
    ) as torchrun:

        def forward(number: int, frame: FrameType | None) -> None:
            note_stop(number)
            for process in children(torchrun.pid) or [torchrun.pid]:
                os.kill(process, number)

        for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT):
            signal.signal(number, forward)
        code = torchrun.wait()
    return 0 if code == 0 else verdict(folder, turn)


def children(process: int) -> list[int]:
    """Return the ids of a process's children, empty if it has ended."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{process}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    except OSError:
        pass
    return found


def _die_with_parent() -> None:
    """Ask the kernel for SIGTERM, which torchrun passes on, when this process's parent ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
