"""Lets runs race for the jobs of one store: drive_races.py FOLDER ROUNDS KILLED.

Each round is a folder with a store. Four processes, forked from this one so that no interpreter
has to start, run the suite as `mae-bench run` does, and fork the processes of their jobs. With
KILLED one run of each round is killed at a random moment.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import mae_bench.suite.execute
from mae_bench.core import registry, turns
from mae_bench.core.site import Site
from mae_bench.suite.display import Lines
from mae_bench.suite.launch import local
from mae_bench.suite.preflight import survey
from mae_bench.suite.suite import Column, Suite, made_row

RUNS = 4
POPEN = subprocess.Popen
registry.OBJECTIVES["racing"] = "racing_recipes:Racing"
registry.TASKS["racing_on"] = "racing_recipes:RacingOn"


class Forked:
    """A process forked from this one in place of an interpreter that would have to start."""

    def __init__(self, command, stdout, env, **rest):
        self.returncode = None
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            subprocess.Popen = POPEN
            os.setsid()
            os.dup2(stdout.fileno(), 1)
            os.dup2(stdout.fileno(), 2)
            os.environ.clear()
            os.environ.update({key: str(value) for key, value in env.items()})
            sys.argv = list(map(str, command[2:]))
            ended(mae_bench.suite.execute.main)

    def poll(self):
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def ended(work):
    """Do the work and end this forked process, with its exit code or 99 and a traceback."""
    code = 99
    try:
        work()
        code = 0
    except SystemExit as end:
        code = end.code
    finally:
        if code == 99:
            sys.excepthook(*sys.exc_info())
        sys.stdout.flush()
        os._exit(code)


class Begun(Lines):
    """Leaves a file as soon as the run has looked at every job."""

    def __init__(self, total, file):
        super().__init__(total, 0, lambda line: None)
        self.file = file

    def tick(self, running, store, left):
        self.file.touch()


def suite():
    return Suite(
        name="race",
        rows=(
            made_row("Good", "racing", "demo", {"runs": RUNS}),
            made_row("Bad", "racing", "demo", {"runs": RUNS, "outcome": "raise"}),
        ),
        columns=(Column("racing_on", "demo", {"runs": RUNS}),),
        seeds=(0, 1),
    )


def run(folder, number):
    ground = survey(suite(), Site(store=folder / "runs"))
    failed = local.launch(ground, Begun(len(ground.plan.jobs), folder / f"begun-{number}"), 2)
    (folder / f"failed-{number}.json").write_text(json.dumps(failed))


def race(folder, rng, killed_within_s):
    """Let four runs race; with a time one of them is killed at random within it."""
    folder.mkdir(parents=True)
    runs = []
    for number in range(RUNS):
        pid = os.fork()
        if pid == 0:
            ended(lambda number=number: run(folder, number))
        runs.append(pid)
    victim = rng.randrange(RUNS) if killed_within_s else None
    if victim is not None:
        time.sleep(rng.uniform(0.0, killed_within_s))
        with contextlib.suppress(ProcessLookupError):
            os.kill(runs[victim], signal.SIGKILL)
        (folder / f"begun-{victim}").touch()
        (folder / "victim").write_text(str(runs[victim]))
    for number, pid in enumerate(runs):
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code == 0 or (number == victim and code == -signal.SIGKILL), (folder, number, code)


if __name__ == "__main__":
    subprocess.Popen = Forked
    local.POLL_S = 0.01
    turns.NAMELESS_S = 2.0
    base, rounds, killed = Path(sys.argv[1]), int(sys.argv[2]), bool(sys.argv[3:])
    rng = random.Random(rounds)
    took_s = 0.3
    for number in range(rounds):
        began = time.monotonic()
        race(base / str(number), rng, took_s if killed else 0.0)
        took_s = time.monotonic() - began
