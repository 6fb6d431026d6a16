"""SLURM's programs, called so that a silent or failing one is told from an answer."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from shutil import which

from mae_bench.suite.launch.queue import Unanswered

ANSWER_S = 60.0
"""Seconds that a program of SLURM may take to answer; its own patience is shorter."""
KEPT = (
    "SLURM_CONF",
    "SLURM_CLUSTERS",
    "SBATCH_ACCOUNT",
    "SBATCH_PARTITION",
    "SBATCH_QOS",
    "SBATCH_RESERVATION",
)
"""Of the variables that SLURM's programs read, those that are a person's own defaults."""


PROGRAMS = ("sbatch", "squeue")


def require_programs() -> None:
    """Raise ValueError where SLURM's programs are not installed."""
    missing = [name for name in PROGRAMS if which(name) is None]
    if missing:
        raise ValueError(
            f"--on slurm needs {' and '.join(missing)}, not found on PATH; run it on a login node, "
            "or --on local"
        )


def ask(command: Sequence[str], cwd: Path | None = None) -> str:
    """Return what a program of SLURM prints; raise Unanswered if it fails or stays silent."""
    try:
        answer = run(command, cwd)
    except subprocess.TimeoutExpired as error:
        raise Unanswered(f"{command[0]} did not answer within {ANSWER_S:.0f} s") from error
    if answer.returncode != 0:
        lines = answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"]
        raise Unanswered(f"{command[0]}: {lines[-1].removeprefix(f'{command[0]}: error: ')}")
    return answer.stdout


def run(command: Sequence[str], cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Return how a program of SLURM ended; raise Unanswered where it is not installed.

    Raises TimeoutExpired after ANSWER_S seconds, the program then being dead.
    """
    try:
        return subprocess.run(
            command,
            cwd=cwd,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ANSWER_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise Unanswered(f"{command[0]} is not installed here, or not on PATH") from error


def environment() -> dict[str, str]:
    """Return this process's environment without what SLURM set in a job that it may run in.

    It would go on to the jobs, and go before what their scripts ask for.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SLURM_", "SBATCH_", "SQUEUE_", "SRUN_")) or name in KEPT
    }
