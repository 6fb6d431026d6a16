"""Sends a run to Weights & Biases, whose own environment variables say where and how."""

import os
from collections.abc import Mapping

from mae_bench.core.tracker import PROJECT, Status, TrackedRun

PACKAGE = "wandb"


class Curves:
    """The run whose id is the job's key, begun or continued."""

    def __init__(self, run: TrackedRun) -> None:
        import wandb

        run.own.mkdir(exist_ok=True)
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=run.key,
            resume="allow",
            name=run.name,
            group=os.environ.get("WANDB_RUN_GROUP", run.row),
            job_type=os.environ.get("WANDB_JOB_TYPE", run.recipe),
            config=dict(run.config),
            dir=os.environ.get("WANDB_DIR", str(run.own)),
            settings=wandb.Settings(console="off"),
        )

    def log(self, step: int, values: Mapping[str, float], time: float) -> None:
        """Add the values to the run's history."""
        self.run.log({**values, "_timestamp": time}, step=step)

    def finish(self, step: int, metrics: Mapping[str, float], status: Status) -> None:
        """Put the metrics into the run's summary and end it."""
        self.run.summary.update({**metrics, "status": status})
        self.run.finish(exit_code=int(status != "done"))
