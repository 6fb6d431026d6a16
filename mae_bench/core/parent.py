"""Ties a process to the one that started it, so that a kill leaves nothing behind."""

import ctypes
import os
import signal

PARENT = "MAE_BENCH_PARENT"
"""Environment variable: id of the process that the one it started must not outlive."""
PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Ask the kernel for SIGKILL when the process named in the environment ends.

    Raises SystemExit if it has ended already; does nothing where none is named.
    """
    parent = os.environ.pop(PARENT, None)
    if parent is None:
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        raise SystemExit("the process that started this one has ended")
