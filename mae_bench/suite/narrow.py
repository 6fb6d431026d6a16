"""A part of a suite: the cells of some rows, tasks and seeds, and the jobs that those need."""

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mae_bench.core.job import Job
from mae_bench.core.recipe import unknown
from mae_bench.suite.plan import Cell, Plan
from mae_bench.suite.preflight import Ground


@dataclass(frozen=True)
class Filters:
    """Which cells are meant; all where nothing is named."""

    only: tuple[str, ...] = ()
    """Labels of rows."""
    task: tuple[str, ...] = ()
    """Names of tasks."""
    seed: tuple[int, ...] = ()
    """Seeds of the cells' jobs."""


def part_of(ground: Ground, filters: Filters) -> Ground:
    """Return the ground with the plan of the chosen cells alone; ValueError for unknown names."""
    return dataclasses.replace(ground, plan=narrowed(ground.plan, filters))


def narrowed(plan: Plan, filters: Filters) -> Plan:
    """Return the plan of the chosen cells, with the jobs that they need.

    Raises ValueError with the nearest name for a row, task or seed that the suite has not.
    """
    if filters == Filters():
        return plan
    _check("row", filters.only, {cell.row for cell in plan.cells})
    _check("task", filters.task, {cell.task for cell in plan.cells})
    seeds = {str(job.seed) for cell in plan.cells for job in cell.jobs}
    _check("seed", [str(seed) for seed in filters.seed], seeds)
    cells = [
        dataclasses.replace(cell, jobs=_of_seeds(cell, filters.seed))
        for cell in plan.cells
        if cell.row in (filters.only or (cell.row,)) and cell.task in (filters.task or (cell.task,))
    ]
    cells = [cell for cell in cells if cell.jobs]
    needed = {key for cell in cells for job in cell.jobs for key in _needed(job, plan)}
    jobs = tuple(job for job in plan.jobs if job.key in needed)
    if not jobs:
        raise ValueError(
            f"no cell of {plan.name} has that row, task and seed together; `mae-bench plan` lists "
            "its jobs"
        )
    return Plan(plan.suite, jobs, tuple(cells))


def _check(what: str, asked: Sequence[str], known: Collection[str]) -> None:
    """Raise ValueError for a name that is not known."""
    for name in asked:
        if name not in known:
            raise ValueError(unknown(f"{what} of the suite", name, known))


def _of_seeds(cell: Cell, seeds: Collection[int]) -> tuple[Job, ...]:
    """Return the cell's jobs of those seeds; all if none is named."""
    return tuple(job for job in cell.jobs if not seeds or job.seed in seeds)


def _needed(job: Job, plan: Plan) -> list[str]:
    """Return the keys of the job and of all that it starts from."""
    source = plan.source_of(job)
    return [job.key, *([] if source is None else _needed(source, plan))]
