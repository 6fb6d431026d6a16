"""A short real training as one job on a cluster, and what its folder tells of its attempts."""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from real_cluster import Cluster, Process, wait_for
from safetensors.torch import load_file

from mae_bench.core.compute import Compute
from mae_bench.core.files import ENCODER, METRICS, last_progress
from mae_bench.core.recipe import Recipe
from mae_bench.core.site import Site
from mae_bench.core.slurm import Slurm
from mae_bench.suite.attempts import Attempt, attempts
from mae_bench.suite.launch.slurm.script import SBATCH, Asked, script
from mae_bench.suite.preflight import single_ground
from mae_bench.suite.store import LOG, RESULT
from pretrain.mae import MAE

EPOCHS = 100
MODEL = MAE(
    arch="vit_smoke_patch8",
    image_size=64,
    epochs=EPOCHS,
    warmup_epochs=1,
    batch_size=16,
    decoder_width=32,
    decoder_depth=1,
    decoder_heads=2,
)
"""Four steps an epoch on the 64 images of the tests' data."""
START_S = 240.0


@dataclass(frozen=True)
class TrainingJob:
    """One submitted job: its number on the cluster and its folder."""

    cluster: Cluster
    id: str
    folder: Path

    @property
    def attempts(self) -> list[Attempt]:
        """Its attempts so far."""
        return attempts(self.folder)

    @property
    def outcomes(self) -> list[str | None]:
        """How each attempt ended; None for one that was killed."""
        return [a.ended["outcome"] if a.ended else None for a in self.attempts]

    @property
    def log(self) -> str:
        """All that was written to log.txt."""
        path = self.folder / LOG
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def step(self) -> int:
        """The last step that was logged."""
        return int((last_progress(self.folder) or {"step": 0})["step"])

    def story(self) -> str:
        """Return what is needed to understand a failed test."""
        return f"{self.cluster.job(self.id)}\n{self.outcomes}\n{self.log[-6000:]}"

    def wait_steps(self, after: int = 0) -> int:
        """Return the last logged step as soon as it is after that one."""
        wait_for(lambda: self.step > after, START_S, self.story)
        return self.step

    def wait_log(self, text: str, times: int = 1) -> None:
        """Return when log.txt has a text that often."""
        wait_for(lambda: self.log.count(text) >= times, START_S, self.story)

    def wait_end(self) -> None:
        """Return when the job has its result; AssertionError if it failed."""

        def ended() -> bool:
            over = self.cluster.job(self.id)["JobState"] in ("FAILED", "CANCELLED", "TIMEOUT")
            assert not over, self.story()
            return (self.folder / RESULT).exists()

        wait_for(ended, START_S, self.story)
        self.cluster.wait_state(self.id, "COMPLETED")

    def workers(self) -> list[Process]:
        """Return its live processes that run the job's folder; with ranks, theirs too."""
        found = self.cluster.processes(self.id)
        words = f"{sys.executable} -m mae_bench.suite.execute"
        return [p for p in found if p.command.startswith(words)]

    def ranks(self) -> list[Process]:
        """Return its live ranks, by rank."""
        found = self.cluster.processes(self.id)
        ranks = [
            p
            for p in found
            if "RANK" in p.environment and " -m mae_bench.suite.execute" in p.command
        ]
        return sorted(ranks, key=lambda p: int(p.environment["RANK"]))

    def logged_steps(self) -> list[int]:
        """Return the steps of all lines of progress, in their order."""
        lines = (self.folder / METRICS).read_text().splitlines()
        return [json.loads(line)["step"] for line in lines]

    def steps_saved(self) -> list[int]:
        """Return after which step each attempt stopped with its state saved."""
        found = re.findall(r"keeper: stopped by .* after step (\d+)", self.log)
        return sorted({int(step) for step in found})

    def steps_resumed(self) -> list[int]:
        """Return after which step attempts took up the training."""
        return sorted({int(s) for s in re.findall(r"keeper: resumed after step (\d+)", self.log)})

    def weights(self):
        """Return the encoder's weights."""
        return load_file(self.folder / ENCODER)


def prepared(store: Path, data: Path | None, recipe: Recipe, ranks: int) -> Path:
    """Write the folder of a job and return it."""
    ground = single_ground(
        recipe, 0, None, "row", Site(store=store, data={"imagenet": data} if data else {})
    )
    job = ground.plan.jobs[0]
    return ground.store.prepare(job, ground.data(job), Compute(gpus=ranks))


def submitted(cluster: Cluster, folder: Path, nodes: int, *options: str) -> TrainingJob:
    """Submit a job's folder with the script that `run --on slurm` writes."""
    command = (sys.executable, "-m", "mae_bench.suite.execute", ".")
    asked = Asked(f"mae-test-{folder.name}", "a test", nodes, 1, Slurm(gres=""), command)
    (folder / SBATCH).write_text(script(asked, folder))
    job_id = cluster.ask("sbatch", "--parsable", *options, SBATCH, cwd=folder).strip()
    return TrainingJob(cluster, job_id, folder)
