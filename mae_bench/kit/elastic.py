"""Runs torchrun in this process and leaves how its ranks ended: elastic.py FILE TORCHRUN'S WORDS.

torchrun's exit code is 1 whatever happened; who starts a job again must know whether a rank was
killed or raised an error.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from signal import SIGTERM
from typing import Any

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run

from mae_bench.core.files import write_json

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
            and failure.exitcode != -SIGTERM
            and failure.timestamp - first < ENDED_BY_TORCHRUN_S,
        }
        for rank, failure in failures.items()
    }


def main() -> None:
    """Run torchrun with the words after the file's name; exit with 0, or with 1 as it does."""
    file, words = Path(sys.argv[1]), sys.argv[2:]
    try:
        run(parse_args(words))
    except ChildFailedError as error:
        write_json(file, ended(error.failures))
        sys.exit(1)
    write_json(file, {})


if __name__ == "__main__":
    main()
