"""Sends a run to MLflow: to MLFLOW_TRACKING_URI, or to mlflow.db in the store."""

import os
from collections.abc import Mapping
from time import time as now
from typing import Any

from mae_bench.core.tracker import PROJECT, Status, TrackedRun

PACKAGE = "mlflow"
KEY = "mae_bench.key"
"""The tag that finds a job's run again: MLflow makes ids itself."""
STATES: dict[Status, str] = {"done": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}


class Curves:
    """The run that has the job's key as its tag, begun or continued."""

    def __init__(self, run: TrackedRun) -> None:
        from mlflow import MlflowClient

        local = f"sqlite:///{run.folder.parent / 'mlflow.db'}"
        self.client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", local))
        self.id = self._run(run)
        self.client.update_run(self.id, status="RUNNING")

    def log(self, step: int, values: Mapping[str, float], time: float) -> None:
        """Add a point to each metric's history."""
        from mlflow.entities import Metric

        points = [Metric(name, value, int(time * 1000), step) for name, value in values.items()]
        self.client.log_batch(self.id, metrics=points)

    def finish(self, step: int, metrics: Mapping[str, float], status: Status) -> None:
        """Add the metrics at the last step and end the run."""
        if metrics:
            self.log(step, metrics, now())
        self.client.set_terminated(self.id, STATES[status])

    def _run(self, run: TrackedRun) -> str:
        """Return the id of the job's run, made with its parameters if there is none."""
        from mlflow.entities import Param

        experiment = self._experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT))
        for found in self.client.search_runs([experiment], f"tags.`{KEY}` = '{run.key}'"):
            return str(found.info.run_id)
        tags = {KEY: run.key, "row": run.row, "recipe": run.recipe}
        made: Any = self.client.create_run(experiment, run_name=run.name, tags=tags)
        params = [Param(name, str(value)) for name, value in run.config.items()]
        self.client.log_batch(made.info.run_id, params=params)
        return str(made.info.run_id)

    def _experiment(self, name: str) -> str:
        """Return the id of the experiment, made if there is none."""
        experiment = self.client.get_experiment_by_name(name)
        return str(experiment.experiment_id if experiment else self.client.create_experiment(name))
