"""Results as a long table: one line for each row, task, metric and seed."""

from typing import Any

import pandas as pd

from mae_bench.core.job import Job, Result
from mae_bench.core.registry import load
from mae_bench.suite.plan import Cell, Plan
from mae_bench.suite.store import Store

COLUMNS = (
    "row",
    "arch",
    "origin",
    "task",
    "metric",
    "title",
    "unit",
    "higher_is_better",
    "digits",
    "seed",
    "key",
    "value",
    "state",
    "seconds",
    "params",
    "flops",
)


def long_frame(plan: Plan, store: Store) -> pd.DataFrame:
    """Return every planned number: `value` is NaN where there is none, `state` says why.

    Values are looked up by the keys of planned jobs, so a number of another recipe cannot get in.
    """
    assert plan.suite is not None
    kinds = {row.label: (row.arch, row.origin) for row in plan.suite.rows}
    records = [
        record | {"arch": kinds[cell.row][0], "origin": kinds[cell.row][1]}
        for cell in plan.cells
        for record in _records(cell, plan, store)
    ]
    frame = pd.DataFrame.from_records(records, columns=list(COLUMNS))
    return frame.astype({"value": float, "seconds": float, "params": float, "flops": float})


def hole_reason(job: Job, plan: Plan, store: Store) -> str:
    """Return 'done', or why the job has no result: failed, blocked, running or not run."""
    state = store.state(job)
    if state.name == "done":
        return "done"
    source = plan.source_of(job)
    if source is not None and store.state(source).name == "failed":
        return f"blocked: {source.recipe.name} of {source.row} failed"
    if state.name == "failed":
        return f"failed: {state.reason}"
    return {"running": "running", "partial": "interrupted"}.get(state.name, "not run")


def _records(cell: Cell, plan: Plan, store: Store) -> list[dict[str, Any]]:
    """Return one record for each seed and metric of the cell.

    A cell that is a row's own pretraining metric has the column's titles.
    """
    records = []
    metrics = load(cell.task).metrics
    for job in cell.jobs:
        result = store.result(job)
        state = hole_reason(job, plan, store)
        for metric in metrics:
            records.append(
                {
                    "row": cell.row,
                    "task": cell.task,
                    "metric": metric.name,
                    "title": metric.title,
                    "unit": metric.unit,
                    "higher_is_better": metric.higher_is_better,
                    "digits": metric.digits,
                    "seed": job.seed,
                    "key": job.key,
                    "value": None if result is None else result.metrics[metric.name],
                    "state": state,
                    "seconds": None if result is None else result.seconds,
                    **_encoder(result),
                }
            )
    return records


def _encoder(result: Result | None) -> dict[str, float | None]:
    """Return parameters and multiply-adds of the encoder as the job recorded them."""
    facts = {} if result is None else result.provenance.get("facts", {}).get("encoder", {})
    return {"params": facts.get("params"), "flops": facts.get("flops")}
