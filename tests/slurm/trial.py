"""A trial suite of two jobs a row, run through SLURM by a real process, and what it leaves."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from real_cluster import wait_for

DRIVE = Path(__file__).with_name("drive_slurm.py")
ROOT = DRIVE.parents[2]
RECIPES = ROOT / "tests" / "suite" / "recipes"
ON_ANOTHER_HOST = ("unshare", "--uts", "sh", "-c", 'hostname login2 && exec "$@"', "sh")
"""What makes a command believe that it runs on a machine of another name."""


@dataclass(frozen=True)
class Trial:
    """A suite in a store: one Counting and one Reading for each row."""

    store: Path
    rows: dict
    slurm: dict
    reading: dict

    def start(self, way="slurm", path=None, answer_s=60.0, before=()):
        """Return the process of a run; `path` goes before PATH, `before` before its command."""
        asked = {
            "store": str(self.store),
            "rows": self.rows,
            "slurm": {"poll_s": 1, "settle_s": 2, **self.slurm},
            "reading": self.reading,
            "way": way,
            "answer_s": answer_s,
            "lost_s": 3.0,
        }
        environment = os.environ | {"PYTHONPATH": f"{ROOT}:{RECIPES}", "OMP_NUM_THREADS": "1"}
        if path is not None:
            environment["PATH"] = f"{path}:{os.environ['PATH']}"
        return subprocess.Popen(
            [*before, sys.executable, DRIVE, json.dumps(asked)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            cwd=self.store.parent,
        )

    def run(self, way="slurm", path=None, answer_s=60.0, before=()):
        """Run the suite to its end; return the exit code and what was printed."""
        return ended(self.start(way, path, answer_s, before))

    def folder(self, row, recipe="counting"):
        """Return the folder of a row's job, None if there is none yet."""
        for path in self.store.glob("*/job.json"):
            job = json.loads(path.read_text())
            if (job["row"], job["identity"]["recipe"]) == (row, recipe):
                return path.parent
        return None

    def steps(self, row, recipe="counting"):
        """Return the steps that a job executed, over all its attempts."""
        return [int(n) for n in (self.folder(row, recipe) / "steps.txt").read_text().split()]

    def wait_paused(self, row, limit_s=60.0):
        """Return the process id of a row's Counting as soon as it pauses."""

        def marker():
            folder = self.folder(row)
            path = None if folder is None else folder / "paused"
            return path.read_text() if path is not None and path.exists() else ""

        return int(wait_for(marker, limit_s))

    def release(self, row):
        """Let a row's Counting go on from its pause, as soon as it is there."""
        self.wait_paused(row)
        (self.folder(row) / "paused").unlink()

    def submitted(self, cluster):
        """Return the names of all jobs of the store that SLURM ever took, without its id."""
        store_id = (self.store / "store.id").read_text().strip()
        said = cluster.ask("squeue", "--noheader", "--states=all", "--format=%j")
        mine = f"mae-{store_id}-"
        return sorted(n.removeprefix(mine) for n in said.split("\n") if n.startswith(mine))


def ended(run, limit_s=120):
    """Return a run's exit code and what it printed."""
    said, _ = run.communicate(timeout=limit_s)
    return run.returncode, said


def program(folder, name, text):
    """Write a program that goes before SLURM's own of that name; return the folder for PATH."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)
    return folder
