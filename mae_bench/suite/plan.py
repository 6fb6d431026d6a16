"""From a suite to the jobs that fill its table; pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from mae_bench.core.demo_data import DemoData
from mae_bench.core.job import Checkpoint, Job
from mae_bench.core.registry import load
from mae_bench.suite.suite import Column, Row, Suite

ABSENT = "absent"
"""The fingerprint of a data set that is not there."""


@dataclass(frozen=True)
class Cell:
    """A row and a task, with one job per seed; several metrics of a task share it."""

    row: str
    task: str
    jobs: tuple[Job, ...]


@dataclass(frozen=True)
class DataSizes:
    """How large the data of jobs is: as counted, else the demo's, else as published."""

    demo: DemoData | None = None
    counted: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By fingerprint."""


@dataclass(frozen=True)
class Plan:
    """Every job once, sources before what needs them, and the cells that they fill."""

    suite: Suite | None
    """None for a job outside a suite."""
    jobs: tuple[Job, ...]
    cells: tuple[Cell, ...]
    counted: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Images and classes of data roots that were looked through, by fingerprint."""

    @property
    def name(self) -> str:
        """The suite's name."""
        return "one job" if self.suite is None else self.suite.name

    @property
    def demo_data(self) -> DemoData | None:
        """The sizes of the suite's demo data, None if it uses the site's."""
        return None if self.suite is None else self.suite.demo_data

    @property
    def data_sizes(self) -> DataSizes:
        """What is known of how large the jobs' data is."""
        return DataSizes(self.demo_data, self.counted)

    def source_of(self, job: Job) -> Job | None:
        """Return the job that makes this job's encoder, None if there is none."""
        return job.source if isinstance(job.source, Job) else None


def plan(suite: Suite, fingerprints: Mapping[str, str]) -> Plan:
    """Return the suite's plan; a data set without a fingerprint counts as absent.

    Raises ValueError if a checkpoint is missing or a recipe's fields are wrong.
    """
    jobs: dict[str, Job] = {}
    cells = []
    for row in suite.rows:
        source = _source(row, suite, fingerprints)
        for column in suite.columns:
            cell = _cell(row, column, suite, fingerprints, source)
            cells.append(cell)
            for job in cell.jobs:
                for one in reversed(_chain(job)):
                    jobs.setdefault(one.key, one)
    return Plan(suite, tuple(jobs.values()), tuple(cells))


def _chain(job: Job) -> list[Job]:
    """Return the job, the one it needs, the one that needs, and so on."""
    chain = [job]
    while isinstance(chain[-1].source, Job):
        chain.append(chain[-1].source)
    return chain


def _cell(
    row: Row,
    column: Column,
    suite: Suite,
    fingerprints: Mapping[str, str],
    checkpoint: Checkpoint | None,
) -> Cell:
    """Return the jobs of one row in one column."""
    seeds = column.seeds or suite.seeds
    if column.task in row.own:
        return Cell(
            row.label,
            column.task,
            tuple(_encoder_job(row, suite, fingerprints, seed) for seed in _row_seeds(row, seeds)),
        )
    recipes = [column.recipe_for(row)]
    if recipes[0].after:
        recipes.insert(0, _before(column, suite).recipe_for(row))
    jobs = []
    for seed in seeds:
        made_with = seed if row.seeds == "each" else suite.seeds[0]
        source: Job | Checkpoint = checkpoint or _encoder_job(row, suite, fingerprints, made_with)
        for recipe in recipes:
            data = fingerprints.get(recipe.dataset, ABSENT)
            source = Job(row.label, recipe, seed, data, source)
        assert isinstance(source, Job)
        jobs.append(source)
    return Cell(row.label, column.task, tuple(jobs))


def _before(column: Column, suite: Suite) -> Column:
    """Return the column whose trained models the task measures: the suite's own if it has it.

    Otherwise one of the same size, published or demo, that the tables do not show.
    """
    task = load(column.task).after
    own = next((one for one in suite.columns if one.task == task), None)
    return own or Column(task, column.size)


def _row_seeds(row: Row, seeds: tuple[int, ...]) -> tuple[int, ...]:
    """Return the seeds that the row's own encoder is made with."""
    return seeds if row.seeds == "each" else seeds[:1]


def _encoder_job(row: Row, suite: Suite, fingerprints: Mapping[str, str], seed: int) -> Job:
    """Return the job that makes the row's encoder."""
    assert row.recipe is not None
    data = fingerprints.get(row.recipe.dataset, ABSENT) if row.recipe.dataset else ""
    return Job(row.label, row.recipe, seed, data)


def _source(row: Row, suite: Suite, fingerprints: Mapping[str, str]) -> Checkpoint | None:
    """Return the row's checkpoint by its bytes, None if its encoder is made here."""
    if row.checkpoint is None:
        return None
    if not row.checkpoint.is_file():
        raise ValueError(f"encoder {row.label!r}: no checkpoint {row.checkpoint}")
    with row.checkpoint.open("rb") as stream:
        return Checkpoint(row.checkpoint, hashlib.file_digest(stream, "sha256").hexdigest())
