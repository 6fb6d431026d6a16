"""Results as long tables: one line for each row, task, metric and seed; one for each job."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mae_bench.core.job import Checkpoint, Job, Result
from mae_bench.core.registry import load
from mae_bench.suite.plan import Cell, Plan
from mae_bench.suite.store import Store

COLUMNS = (
    "row",
    "arch",
    "origin",
    "task",
    "variant",
    "metric",
    "protocol",
    "schedule",
    "per_image",
    "title",
    "unit",
    "higher_is_better",
    "digits",
    "seed",
    "key",
    "value",
    "state",
    "reason",
    "fidelity",
    "seconds",
    "device",
    "gpu_hours",
    "encoder_device",
    "encoder_gpu_hours",
    "encoder_epochs",
    "encoder_fidelity",
    "method",
    "params",
    "flops",
)
NUMBERS = (
    "value",
    "seconds",
    "gpu_hours",
    "encoder_gpu_hours",
    "encoder_epochs",
    "params",
    "flops",
)
NOT_MEASURED = "not measured"
"""State of an optional metric that a finished job does not have: no hole, but an empty cell."""
NOT_NOTED = "not noted"
"""Stamp of an encoder of before there were stamps."""
JOB_COLUMNS = (
    "row",
    "recipe",
    "version",
    "seed",
    "key",
    "source",
    "numbers",
    "fidelity",
    "seconds",
    "device",
    "gpu_hours",
    "state",
    "reason",
)


@dataclass(frozen=True)
class Outcome:
    """What became of a planned job."""

    result: Result | None
    state: str
    """done, failed, cancelled, blocked, running, interrupted or not run."""
    reason: str = ""
    """Why it failed, who cancelled it, what blocks it, or why its result is not believed."""


@dataclass(frozen=True)
class Evidence:
    """Where numbers are looked up, by the keys of planned jobs and in no other way."""

    plan: Plan
    store: Store
    blocked: Mapping[str, str]
    """Job key -> why it cannot run on this machine."""

    def outcome(self, job: Job) -> Outcome:
        """Return the job's result, or why it has none."""
        result = self.store.result(job)
        if result is not None:
            return Outcome(result, "done")
        state = self.store.state(job)
        if state.name == "running":
            return Outcome(None, "running")
        if job.key in self.blocked:
            return Outcome(None, "blocked", self.blocked[job.key])
        source = self.plan.source_of(job)
        if source is not None:
            above = self.outcome(source)
            if above.state in ("failed", "cancelled", "blocked"):
                maker = f"{source.recipe.name} of {source.row} (seed {source.seed})"
                return Outcome(None, "blocked", f"{maker} {above.state}")
        if state.name in ("failed", "cancelled"):
            return Outcome(None, state.name, state.reason)
        name = "interrupted" if state.name == "partial" else "not run"
        return Outcome(None, name, state.reason)


def long_frame(plan: Plan, store: Store, blocked: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Return every planned number: `value` is NaN where there is none, `state` says why.

    An optional metric that a finished job does not have is `not measured`.

    Values are looked up by the keys of planned jobs, so a number of another recipe cannot get in.
    `blocked` (job key -> reason) tells what this machine cannot run. Outside a suite, size and
    origin of an encoder are those that its results noted.
    """
    evidence = Evidence(plan, store, blocked or {})
    rows = () if plan.suite is None else plan.suite.rows
    kinds = {row.label: {"arch": row.arch, "origin": row.origin} for row in rows}
    records = [
        record | kinds.get(cell.row, {})
        for cell in plan.cells
        for record in _records(cell, evidence)
    ]
    for record in records:
        record["method"] = record["method"] or record["origin"]
    frame = pd.DataFrame.from_records(records, columns=list(COLUMNS))
    return frame.astype(dict.fromkeys(NUMBERS, float))


def job_frame(plan: Plan, store: Store, blocked: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Return every planned job, those that make encoders too: its numbers, seconds and state."""
    evidence = Evidence(plan, store, blocked or {})
    records = [_job_record(job, evidence.outcome(job)) for job in plan.jobs]
    return pd.DataFrame.from_records(records, columns=list(JOB_COLUMNS)).astype(
        {"seconds": float, "gpu_hours": float}
    )


def status(state: str, reason: str) -> str:
    """Return state and reason as one text."""
    return f"{state}: {reason}" if reason else state


def _records(cell: Cell, evidence: Evidence) -> list[dict[str, Any]]:
    """Return one record for each seed and metric of the cell.

    A cell that is a row's own pretraining metric has the column's titles.
    """
    records = []
    for job in cell.jobs:
        outcome = evidence.outcome(job)
        result = outcome.result
        for metric in load(cell.task).metrics:
            value = None if result is None else result.metrics.get(metric.name)
            absent = result is not None and value is None
            records.append(
                {
                    "row": cell.row,
                    "task": cell.task,
                    "variant": variant(cell.task, job),
                    "metric": metric.name,
                    "protocol": metric.protocol,
                    "schedule": getattr(job.recipe, "published_schedule", ""),
                    "per_image": metric.per_image,
                    "title": metric.title,
                    "unit": metric.unit,
                    "higher_is_better": metric.higher_is_better,
                    "digits": metric.digits,
                    "seed": job.seed,
                    "key": job.key,
                    "value": value,
                    "state": NOT_MEASURED if absent else outcome.state,
                    "reason": outcome.reason,
                    **_cost(result),
                    **_encoder(job, evidence),
                }
            )
    return records


def variant(task: str, job: Job) -> str:
    """Return the fields, with values, that set the job's protocol apart from the task's usual.

    What trained the weights that the job measures belongs to its protocol.
    """
    cls = load(task)
    usual = cls()
    parts = []
    for name in getattr(cls, "apart", ()):
        value = getattr(job.recipe, name, getattr(usual, name))
        if value != getattr(usual, name):
            parts.append(f"{name.replace('_', ' ')} {value}")
    if cls.after and isinstance(job.source, Job):
        parts.append(variant(cls.after, job.source))
    return ", ".join(filter(None, parts))


def stamp(result: Result | None) -> str:
    """Return "paper", the deviations as one text, or nothing where none were noted."""
    if result is None:
        return ""
    return result.fidelity if isinstance(result.fidelity, str) else "; ".join(result.fidelity)


def _cost(result: Result | None) -> dict[str, Any]:
    """Return stamp, time, device and hours of all ranks together of a result."""
    if result is None:
        return {"fidelity": "", "seconds": None, "device": "", "gpu_hours": None}
    return {
        "fidelity": stamp(result),
        "seconds": result.seconds,
        "device": str(result.provenance.get("device", "")),
        "gpu_hours": result.seconds * int(result.provenance.get("ranks", 1)) / 3600,
    }


def _encoder(job: Job, evidence: Evidence) -> dict[str, Any]:
    """Return what is known of the encoder: size, origin, making, parameters and multiply-adds.

    Its own making costs nothing beside that of the job, where the job is it.
    """
    maker, costs = job, []
    while isinstance(maker.source, Job):
        maker = maker.source
        costs.append(_cost(evidence.store.result(maker)))
    hours = [cost["gpu_hours"] for cost in costs]
    stamps = dict.fromkeys(cost["fidelity"] or NOT_NOTED for cost in costs)
    unknown = None in hours or maker.source is not None
    counts: dict[str, Any] = {}
    for one in (job, evidence.plan.source_of(job)):
        result = None if one is None else evidence.store.result(one)
        counts = counts or (
            {} if result is None else result.provenance.get("facts", {}).get("encoder", {})
        )
    return {
        "arch": counts.get("arch", ""),
        "origin": counts.get("origin", ""),
        "encoder_device": " + ".join(sorted({cost["device"] for cost in costs} - {""})),
        "encoder_gpu_hours": None if unknown else float(sum(hours)),
        "encoder_epochs": None if maker.source else getattr(maker.recipe, "epochs", 0),
        "encoder_fidelity": "; ".join(stamps),
        "method": "" if maker.source else getattr(maker.recipe, "method", ""),
        "params": counts.get("params"),
        "flops": counts.get("flops"),
    }


def _job_record(job: Job, outcome: Outcome) -> dict[str, Any]:
    """Return the job as a line of the table of jobs."""
    source = job.source
    kind = "file " if isinstance(source, Checkpoint) else ""
    result = outcome.result
    numbers = (
        []
        if result is None
        else [
            f"{metric.title} {result.metrics[metric.name]:.{metric.digits}f} {metric.unit}".strip()
            for metric in job.recipe.metrics
            if metric.name in result.metrics
        ]
    )
    return {
        "row": job.row,
        "recipe": job.recipe.name,
        "version": job.recipe.version,
        "seed": job.seed,
        "key": job.key,
        "source": "" if source is None else kind + source.key[:16],
        "numbers": ", ".join(numbers),
        **_cost(result),
        "state": outcome.state,
        "reason": outcome.reason,
    }
