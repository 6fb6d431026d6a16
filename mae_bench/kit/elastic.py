"""Runs torchrun in this process and leaves how its ranks ended: elastic.py FILE TORCHRUN'S WORDS.

torchrun's exit code is 1 whatever happened; who starts a job again must know whether a rank was
killed or raised an error.
"""

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run

from mae_bench.core.files import write_json
from mae_bench.core.parent import PARENT, end_with_parent

ENDED_BY_TORCHRUN_S = 20
"""torchrun ends the other ranks with SIGTERM, and 30 s later with SIGKILL: what ends so long after
the first was not killed by others."""


def ended(failures: Mapping[int, Any]) -> dict[str, dict[str, Any]]:
    """Return exit code, time and whether it was killed from outside, for each rank that failed.

    `failures` are torchrun's ProcessFailures by rank; a negative code is a signal's number.
    """
    first = min(failure.timestamp for failure in failures.values())
    return {
        str(rank): {
            "code": failure.exitcode,
            "time": failure.timestamp,
            "killed": failure.exitcode < 0
            and failure.exitcode != -signal.SIGTERM
            and failure.timestamp - first < ENDED_BY_TORCHRUN_S,
        }
        for rank, failure in failures.items()
    }


def begin() -> None:
    """Tie this process to its parent and the ranks to this process; ignore what asks to stop.

    Who started it passes such signals on to the ranks; torchrun would kill them 30 s later. They
    come blocked, so that none is deadly before this point, and ranks begin without handlers.
    """
    end_with_parent()
    os.environ[PARENT] = str(os.getpid())
    numbers = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


def launch(file: Path, words: list[str]) -> None:
    """Run torchrun with those words and leave in the file how its ranks ended; exit with 1 as it
    does if one failed.
    """
    try:
        run(parse_args(["--signals-to-handle", "SIGHUP,SIGQUIT", *words]))
    except ChildFailedError as error:
        write_json(file, ended(error.failures))
        sys.exit(1)
    write_json(file, {})


def main() -> None:
    """Run torchrun with the words after the file's name; exit with 0, or with 1 as it does."""
    begin()
    launch(Path(sys.argv[1]), sys.argv[2:])


if __name__ == "__main__":
    main()
