"""The job that looks at a worker before the others start: what is wanted, and what it found."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mae_bench.core.files import write_json
from mae_bench.core.slurm import LEAST_NOTICE_S, Slurm
from mae_bench.suite.launch.slurm.asked import interpreter
from mae_bench.suite.launch.slurm.queue import job_name
from mae_bench.suite.launch.slurm.script import Asked
from mae_bench.suite.launch.slurm.worker import FOUND, WANTED, software
from mae_bench.suite.preflight import Ground

FOLDER = "workers"
"""In the store: a folder for each kind of worker that was looked at."""
TIME = "15:00"


@dataclass(frozen=True)
class Check:
    """One look at a worker."""

    root: Path
    """The store."""
    wanted: dict[str, Any]
    slurm: Slurm

    @property
    def key(self) -> str:
        """What it is called in the queue: another one where anything wanted differs."""
        text = json.dumps([self.wanted, asdict(self.slurm)], sort_keys=True)
        return f"worker-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return self.root / FOLDER / self.key

    @property
    def found(self) -> dict[str, Any] | None:
        """What the worker left, None before that."""
        try:
            content: dict[str, Any] = json.loads((self.folder / FOUND).read_text())
        except (OSError, ValueError):
            return None
        return content

    @property
    def passed(self) -> bool:
        """Whether a worker was found to be as wanted."""
        found = self.found
        return found is not None and not found["problems"]

    @property
    def problems(self) -> list[str]:
        """What differs on the worker."""
        found = self.found
        return [] if found is None else list(found["problems"])

    @property
    def advice(self) -> str:
        """What makes jobs slow on such a worker, empty if nothing does."""
        cores, gpus = (self.found or {}).get("cores"), self.wanted["gpus"]
        if cores is None or cores >= gpus:
            return ""
        return f"a job gets {cores} CPU cores for {gpus} GPUs; set slurm.cpus_per_gpu"

    @property
    def place(self) -> str:
        """The machine that was looked at, and its GPUs."""
        found = self.found or {}
        return ", ".join(filter(None, [found.get("host"), found.get("gpus")]))

    def prepare(self) -> Path:
        """Write what is wanted, clear an earlier answer and return the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / FOUND).unlink(missing_ok=True)
        write_json(self.folder / WANTED, self.wanted)
        return self.folder

    def asked(self, store_id: str) -> Asked:
        """Return what it asks the cluster for: one node with its GPUs, for a short time."""
        slurm = replace(self.slurm, time=TIME, notice_s=LEAST_NOTICE_S)
        command = (self.wanted["interpreters"]["torch"], "-m", f"{__package__}.worker", ".")
        name = job_name(store_id, self.key)
        return Asked(name, "a look at a worker", 1, max(1, self.wanted["gpus"]), slurm, command)


def check_of(ground: Ground) -> Check | None:
    """Return the look at a worker that the ground's jobs want; None where the site wants none."""
    slurm = ground.site.slurm.common
    if not slurm.check_worker:
        return None
    names = ["torch"]
    for job in ground.plan.jobs:
        if job.recipe.resources.framework not in names and job.key not in ground.blocked:
            names.append(job.recipe.resources.framework)
    here = {name: str(ground.site.interpreter(name)) for name in names}
    there = {name: interpreter(slurm, ground, name) for name in names}
    gpus = slurm.gpus_per_node or ground.site.compute.gpus
    roots = {name: root for name, root in ground.site.data.items() if root.is_dir()}
    wanted = {
        "software": software(here),
        "interpreters": there,
        "roots": {name: str(root.resolve()) for name, root in roots.items()},
        "gpus": gpus if slurm.gres else 0,
    }
    return Check(ground.store.root, wanted, slurm)
