"""Sends a run to trackio, whose own environment variables say where: on this machine or a Space."""

import os
from collections.abc import Mapping

from mae_bench.core.tracker import PROJECT, Status, TrackedRun

PACKAGE = "trackio"


class Curves:
    """The run whose name holds the job's key, begun or continued."""

    def __init__(self, run: TrackedRun) -> None:
        import trackio

        self.run = trackio.init(
            project=os.environ.get("TRACKIO_PROJECT", PROJECT),
            name=f"{run.name} · {run.key}",
            group=run.row,
            resume="allow",
            config=dict(run.config),
            embed=False,
        )

    def log(self, step: int, values: Mapping[str, float], time: float) -> None:
        """Add the values to the run's history; trackio takes no time."""
        self.run.log(dict(values), step=step)

    def finish(self, step: int, metrics: Mapping[str, float], status: Status) -> None:
        """Add the metrics at the last step and end the run."""
        self.run.log({**metrics, "status": status}, step=step)
        self.run.finish()
